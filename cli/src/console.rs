//! Output streams: results go to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use lookbehind_common::text::printable_json;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::CliError;
use crate::text::printable_lines;

/// The output of a command. Clones are cheap and share one terminal.
#[derive(Clone)]
pub struct Console {
    json: bool,
    bars: MultiProgress,
    out: Arc<Mutex<dyn Write + Send>>,
}

impl Console {
    /// A console on standard output and standard error. With `json`, standard output contains only JSON, and no
    /// progress bars are drawn.
    pub fn new(json: bool) -> Self {
        Self::to(json, io::stdout())
    }

    /// A console that writes results to `out` instead of standard output.
    pub fn to(json: bool, out: impl Write + Send + 'static) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { json, bars: MultiProgress::with_draw_target(target), out: Arc::new(Mutex::new(out)) }
    }

    /// Whether the output is JSON for programs.
    pub fn json(&self) -> bool {
        self.json
    }

    /// The progress bars; hidden if standard error is not a terminal.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Writes one line of results. Of the text that it quotes, characters that act on terminals are escaped.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn result(&self, line: impl Display) -> Result<(), CliError> {
        let line = printable_lines(&line.to_string());
        self.text(format!("{line}\n").as_bytes())
    }

    /// Writes results as they are, which must not quote what others wrote.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn text(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.bars.suspend(|| {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
        })
    }

    /// Writes one line of JSON.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn object(&self, value: &impl Serialize) -> Result<(), CliError> {
        let line = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
        self.result(printable_json(&line))
    }

    /// Writes a line for people to standard error, unless the output is JSON.
    pub fn note(&self, line: impl Display) {
        if !self.json {
            self.say(line);
        }
    }

    /// Writes a line to standard error in any case.
    pub fn say(&self, line: impl Display) {
        let line = printable_lines(&line.to_string());
        // A failure is ignored: without standard error it cannot be reported.
        let _ = self.bars.suspend(|| writeln!(io::stderr().lock(), "{line}"));
    }

    /// Sends logs to standard error without disturbing progress bars. A logger that the program has already installed
    /// is kept.
    ///
    /// # Errors
    /// If the filter is invalid.
    pub fn start_logs(&self, filter: &str) -> Result<(), CliError> {
        let filter = EnvFilter::try_new(filter)
            .map_err(|error| CliError::Usage(format!("--log {filter:?}: {error}")))?;
        let colours = io::stderr().is_terminal();
        let logs =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(self.clone());
        let _ = logs.try_init();
        Ok(())
    }
}

/// The error for a failed write to standard output.
fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::StdoutClosed,
        _ => CliError::Stdout(error),
    }
}

/// Writes log lines to standard error without disturbing progress bars.
pub struct LogWriter(MultiProgress);

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.bars.clone())
    }
}

#[cfg(test)]
mod tests;
