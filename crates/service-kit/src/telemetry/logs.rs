//! Gantry's own log: what of it is written, and how a line looks.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Pretty` when stderr is a terminal, else `Json`.
    #[default]
    Auto,
    Pretty,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("expected auto, pretty or json".to_owned()),
        }
    }
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

/// A level (`info`) or directives per module (`info,gantry_store=debug`), as tracing's `EnvFilter` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogFilter {
    pub(super) fn build(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

/// The library that talks to container engines. Below `info` it quotes what it sends and gets: the environment of containers,
/// secrets included, and what registries ask for.
const TALKATIVE: &str = "bollard";

/// Keeps what may hold secrets out of every log, whatever the filter asks for.
struct Discreet;

impl Discreet {
    fn lets(metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO || !metadata.target().starts_with(TALKATIVE)
    }
}

impl<S: Subscriber> Layer<S> for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::lets(metadata)
    }
}

/// Lines on stderr.
pub(super) fn to_stderr(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let pretty = match format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    lines(std::io::stderr, pretty, terminal)
}

fn lines<W>(writer: W, pretty: bool, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = layer().with_writer(writer);
    if pretty {
        // Fields as the ready-made formatter writes them, but for what a terminal would obey: text of callers is text.
        let fields = debug_fn(|writer, field, value| match field.name() {
            "message" => write!(Plain(writer), "{value:?}"),
            name => {
                let name = name.strip_prefix("r#").unwrap_or(name);
                match writer.has_ansi_escapes() {
                    true => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
                    false => write!(writer, "{name}=")?,
                }
                write!(Plain(writer), "{value:?}")
            }
        });
        lines
            .with_ansi(colour)
            .with_target(false)
            .fmt_fields(fields.delimited(" "))
            .and_then(Discreet)
            .boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .and_then(Discreet)
            .boxed()
    }
}

/// Writes what a terminal, or whoever reads lines, would take for more than text as escapes.
struct Plain<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Plain<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        for part in text.split_inclusive(special) {
            match part.chars().next_back().filter(|c| special(*c)) {
                Some(last) => {
                    self.0.write_str(&part[..part.len() - last.len_utf8()])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Callers' text gets into fields (by Display and Debug), into messages and into spans.
    #[test]
    fn no_text_makes_a_line_of_its_own() {
        let forged = "a\r\n2026-01-01T00:00:00Z ERROR forged\n\u{1b}[2J\u{85}b\u{2028}c";
        for pretty in [true, false] {
            let written = Written::default();
            let writer = written.clone();
            let subscriber = Registry::default().with(lines(move || writer.clone(), pretty, false));
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::info_span!("request", id = forged, shown = %forged).entered();
                tracing::error!(error = %forged, text = forged, debug = ?forged, "failed: {forged}");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.contains("forged"), "{line}");
            // In JSON nothing but the ASCII ones ends a line.
            let special = |c: char| c.is_ascii_control() || (pretty && (c.is_control() || c == '\u{2028}'));
            assert!(!line.chars().any(special), "pretty {pretty}: {line:?}");
        }
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        assert!("gantry=loud".parse::<LogFilter>().is_err());
        assert!("loud".parse::<LogFormat>().is_err());
    }
}
