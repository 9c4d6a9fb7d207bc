//! Log lines on standard error.
//!
//! `LOOKBEHIND_LOG` selects them: a level (`info`) or levels by module (`info,lookbehind_coordinator=debug`).

use std::env::VarError;
use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that selects the log lines.
pub const VARIABLE: &str = "LOOKBEHIND_LOG";

/// Lines that are written only if `LOOKBEHIND_LOG` asks for this module: the HTTP/2 library warns of each connection that
/// resets many streams, so that a hostile client could fill the log.
const QUIET: &str = "h2=off";

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, module, message and fields.
    #[default]
    Text,
    /// For programs: one JSON object per line, with the fields next to `timestamp`, `level`, `target` and `message`.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The value of the variable is not a valid filter.
    #[error(
        "{VARIABLE}={value:?}: expected a level (error, warn, info, debug, trace) or module=level, with commas between: {reason}"
    )]
    Filter {
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A logger is already installed.
    #[error("logs: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging with the filter in `LOOKBEHIND_LOG` or else `default_filter`. Colours are used only on a terminal.
///
/// # Errors
/// If `LOOKBEHIND_LOG` is invalid, or a logger is already installed.
pub fn init(format: LogFormat, default_filter: &str) -> Result<(), LogError> {
    let filter = match std::env::var(VARIABLE) {
        Ok(value) if !value.trim().is_empty() => filter(&value)?,
        Ok(_) | Err(VarError::NotPresent) => filter(default_filter)?,
        Err(VarError::NotUnicode(value)) => {
            let (value, reason) = (value.to_string_lossy().into_owned(), "not UTF-8".to_owned());
            return Err(LogError::Filter { value, reason });
        }
    };
    let ansi = std::io::stderr().is_terminal();
    Ok(subscriber(format, filter, ansi, std::io::stderr).try_init()?)
}

fn filter(value: &str) -> Result<EnvFilter, LogError> {
    let unusable = |reason: String| LogError::Filter { value: value.to_owned(), reason };
    // The filter would read a single unknown word as a module name: it would log that module only. It is more likely a
    // misspelt level.
    let words =
        value.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '[', ']']));
    if let Some(word) = words.into_iter().find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(unusable(format!("{word:?} is no level")));
    }
    // Of two directives for the same module the later one counts.
    let directives = format!("{QUIET},{}", value.trim());
    EnvFilter::builder().parse(directives).map_err(|error| unusable(error.to_string()))
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, ansi: bool, writer: W) -> tracing::Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // If a line cannot be written it is lost. Reporting the failure to the same closed stream would panic.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(ansi).into(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).into()
        }
    }
}

#[cfg(test)]
mod tests;
