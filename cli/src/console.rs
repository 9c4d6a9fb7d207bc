//! The two streams that people and programs read: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::CliError;

/// Where a command's output goes. Cheap to clone; all clones share one terminal.
#[derive(Clone)]
pub struct Console {
    json: bool,
    bars: MultiProgress,
    out: Arc<Mutex<dyn Write + Send>>,
}

impl Console {
    /// A console on standard output and standard error; `json` promises that standard output holds JSON only
    /// and that nothing is drawn.
    pub fn new(json: bool) -> Self {
        Self::to(json, io::stdout())
    }

    /// A console whose results go elsewhere.
    pub fn to(json: bool, out: impl Write + Send + 'static) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { json, bars: MultiProgress::with_draw_target(target), out: Arc::new(Mutex::new(out)) }
    }

    /// Whether a program reads along.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Where progress bars are drawn; hidden where standard error is no terminal.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// One line of result.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn result(&self, line: impl Display) -> Result<(), CliError> {
        self.text(format!("{line}\n").as_bytes())
    }

    /// Results as they are.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn text(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.bars.suspend(|| {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
        })
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn object(&self, value: &impl Serialize) -> Result<(), CliError> {
        let line = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
        self.result(line)
    }

    /// One line for people beside the results; nothing where a program reads along.
    pub fn note(&self, line: impl Display) {
        if !self.json {
            self.say(line);
        }
    }

    /// One line on standard error in every case.
    pub fn say(&self, line: impl Display) {
        // Nobody can be told that standard error is gone.
        let _ = self.bars.suspend(|| writeln!(io::stderr().lock(), "{line}"));
    }

    /// Sends logs to standard error, between the drawings of progress bars. A program that has set up logging
    /// of its own keeps it.
    ///
    /// # Errors
    /// When the filter cannot be understood.
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

/// What it means that standard output cannot be written.
fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::StdoutClosed,
        _ => CliError::Stdout(error),
    }
}

/// Writes log lines between the drawings of progress bars.
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
