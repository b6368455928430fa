//! Gantry's own log: what of it is written, and how a line looks.

use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::layer;
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
    let lines = layer().with_writer(std::io::stderr);
    if pretty {
        lines.with_ansi(terminal).with_target(false).and_then(Discreet).boxed()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        assert!("gantry=loud".parse::<LogFilter>().is_err());
        assert!("loud".parse::<LogFormat>().is_err());
    }
}
