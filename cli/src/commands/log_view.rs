//! A followed log on the terminal: the run's own bytes exactly as they are, Gantry's lines dimmed beside them, and a
//! passing line that says why nothing happens.

use std::io::{self, IsTerminal as _, Write as _};

use gantry_api_types::log::Stream;

use crate::terminal::style::{CLEAR_LINE, DIM, RESET};
use crate::terminal::{self, text};

/// Where the two streams of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// stdout to stdout, stderr to stderr.
    Apart,
    /// Both to stdout: reading a log.
    Stdout,
    /// Both to stderr: stdout is for JSON.
    Stderr,
}

pub struct LogView {
    target: Target,
    /// Whether Gantry's own lines are wanted.
    system: bool,
    /// Passing lines need a terminal to be wiped off again.
    can_pass: bool,
    shares_screen: bool,
    /// The screen's cursor stands at the beginning of a line, as far as we wrote.
    at_line_start: bool,
    passing: bool,
}

impl LogView {
    pub fn new(target: Target, system: bool) -> Self {
        let can_pass = io::stderr().is_terminal() && system;
        let shares_screen =
            io::stderr().is_terminal() && (target == Target::Stderr || io::stdout().is_terminal());
        Self { target, system, can_pass, shares_screen, at_line_start: true, passing: false }
    }

    pub fn can_pass(&self) -> bool {
        self.can_pass
    }

    /// A piece of the log.
    pub fn piece(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match (stream, self.target) {
            (Stream::System, _) => {
                let said = String::from_utf8_lossy(bytes);
                said.lines().try_for_each(|line| self.say(line))
            }
            (Stream::Stdout, Target::Apart) | (_, Target::Stdout) => {
                self.pass_through(&mut io::stdout().lock(), bytes)
            }
            _ => self.pass_through(&mut io::stderr().lock(), bytes),
        }
    }

    /// A line of Gantry's own.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        if !self.system {
            return Ok(());
        }
        self.begin_line()?;
        writeln!(anstream::stderr().lock(), "{DIM}{}{RESET}", text::line(line))
    }

    /// A line that goes away with the next output. Only at the beginning of a line, so that the run's own stay whole.
    pub fn pass(&mut self, line: &str) -> io::Result<()> {
        if !self.can_pass || !(self.at_line_start || self.passing) {
            return Ok(());
        }
        let width = usize::from(terminal::width(io::stderr())) - 1;
        let line = text::cut(&text::line(line), width);
        let mut out = anstream::stderr().lock();
        write!(out, "{CLEAR_LINE}{DIM}{line}{RESET}")?;
        out.flush()?;
        self.passing = true;
        Ok(())
    }

    /// Wipes the passing line off.
    pub fn settle(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.passing) {
            let mut out = anstream::stderr().lock();
            write!(out, "{CLEAR_LINE}")?;
            out.flush()?;
        }
        Ok(())
    }

    /// Makes sure that what follows on stderr has a line of its own.
    pub fn begin_line(&mut self) -> io::Result<()> {
        self.settle()?;
        if self.shares_screen && !std::mem::replace(&mut self.at_line_start, true) {
            writeln!(io::stderr().lock())?;
        }
        Ok(())
    }

    fn pass_through(&mut self, out: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
        self.settle()?;
        out.write_all(bytes)?;
        out.flush()?;
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
        Ok(())
    }
}
