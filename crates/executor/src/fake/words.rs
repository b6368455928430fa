//! Scripts as command words, so that a test can drive the fake through the API: `["fake:out=hi\n", "fake:exit=3"]`.
//!
//! | word | does |
//! | --- | --- |
//! | `fake:out=TEXT`, `fake:err=TEXT` | prints exactly TEXT (`\n`, `\\` and `\xNN` are understood) |
//! | `fake:fill=BYTES` | prints that many bytes |
//! | `fake:sleep=MILLISECONDS`, `fake:hang` | takes its time, or for ever |
//! | `fake:write=PATH=TEXT` | leaves a file to collect |
//! | `fake:env` | prints its environment |
//! | `fake:effect=PATH` | appends `RUN ATTEMPT` to a file of the host, which must be there and be called `….effects`: what tests across processes count |
//! | `fake:exit=CODE`, `fake:signal=N`, `fake:oom` | ends with CODE, 128 + N, or 137 for lack of memory |
//! | `fake:ignore-stop` | ends by force only |
//! | `fake:progress=TEXT`, `fake:hang-prepare` | says something, or waits for ever, while it is prepared |
//! | `fake:prepare=ERROR`, `fake:start=ERROR`, `fake:wait=ERROR` | fails there: `bad_command`, `image_not_found`, `image_denied`, `registry_unreachable`, `infrastructure`, `unsupported` |
//!
//! Words that do not begin with `fake:` are ignored: any ordinary command is a no-op that exits 0.

use std::time::Duration;

use bytes::Bytes;
use gantry_domain::log::LogStream;

use crate::ExecutorError;
use crate::fake::script::{Gate, Prepare, Script, Step};

impl Script {
    /// The script these command words spell.
    pub fn from_words(words: &[String]) -> Result<Self, ExecutorError> {
        let mut script = Self::default();
        for word in words.iter().filter_map(|word| word.strip_prefix("fake:")) {
            let (verb, value) = word.split_once('=').unwrap_or((word, ""));
            script.apply(verb, value).ok_or_else(|| {
                ExecutorError::BadCommand(format!("`fake:{word}` is not a word of the fake executor"))
            })?;
        }
        Ok(script)
    }

    fn apply(&mut self, verb: &str, value: &str) -> Option<()> {
        match verb {
            "out" => self.steps.push(Step::Print(LogStream::Stdout, unescape(value)?)),
            "err" => self.steps.push(Step::Print(LogStream::Stderr, unescape(value)?)),
            "fill" => self.steps.push(Step::Fill(value.parse().ok()?)),
            "sleep" => self.steps.push(Step::Sleep(Duration::from_millis(value.parse().ok()?))),
            "hang" => self.steps.push(Step::Hold(Gate::new())),
            "write" => {
                let (path, text) = value.split_once('=')?;
                self.steps.push(Step::Write(path.to_owned(), unescape(text)?));
            }
            "env" => self.steps.push(Step::PrintEnvironment),
            "effect" => self.steps.push(Step::Effect(value.strip_suffix(".effects").map(|_| value.into())?)),
            "exit" => self.exit_code = value.parse().ok()?,
            "signal" => self.exit_code = 128 + value.parse::<i64>().ok()?,
            "oom" => (self.exit_code, self.oom_killed) = (137, true),
            "ignore-stop" => self.ignores_stop = true,
            "progress" => self.progress.push(value.to_owned()),
            "hang-prepare" => self.prepare = Prepare::Hold(Gate::new()),
            "prepare" => self.prepare = Prepare::Fail(error(value)?),
            "start" => self.refuse_start = Some(error(value)?),
            "wait" => self.lose_exit = Some(error(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn error(name: &str) -> Option<ExecutorError> {
    let make = match name {
        "bad_command" => ExecutorError::BadCommand,
        "image_not_found" => ExecutorError::ImageNotFound,
        "image_denied" => ExecutorError::ImageDenied,
        "registry_unreachable" => ExecutorError::RegistryUnreachable,
        "infrastructure" => ExecutorError::Infrastructure,
        "unsupported" => ExecutorError::Unsupported,
        _ => return None,
    };
    Some(make(format!("the fake executor was told to fail with {name}")))
}

fn unescape(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(words: &[&str]) -> Result<Script, ExecutorError> {
        Script::from_words(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_become_steps_in_their_order() {
        let script =
            script(&["fake:out=a\\n\\xff", "fake:sleep=5", "fake:write=r/j.xml=<a b=\"c\"/>", "fake:exit=3"])
                .unwrap();
        assert!(matches!(&script.steps[0], Step::Print(LogStream::Stdout, b) if &b[..] == b"a\n\xff"));
        assert!(matches!(&script.steps[1], Step::Sleep(d) if d.as_millis() == 5));
        assert!(matches!(&script.steps[2], Step::Write(p, b) if p == "r/j.xml" && &b[..] == b"<a b=\"c\"/>"));
        assert_eq!(script.exit_code, 3);
    }

    #[test]
    fn an_ordinary_command_is_a_no_op_and_a_mistyped_word_is_refused() {
        let noop = script(&["npx", "playwright", "test"]).unwrap();
        assert!(noop.steps.is_empty() && noop.exit_code == 0);
        for bad in
            ["fake:effect=/etc/passwd", "fake:exit=x", "fake:bogus", "fake:out=\\q", "fake:prepare=tired"]
        {
            assert!(matches!(script(&[bad]), Err(ExecutorError::BadCommand(_))), "{bad}");
        }
    }
}
