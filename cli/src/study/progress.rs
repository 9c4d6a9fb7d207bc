//! Progress over all runs of a study: a bar on a terminal, a line for each run elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::ledger::Record;
use crate::console::Console;
use crate::text::{percent, printable};

/// Shows how far a study is.
pub struct Progress {
    console: Console,
    bar: Option<ProgressBar>,
    begun: Instant,
    total: u64,
    /// Runs that were there before.
    before: u64,
    done: u64,
}

impl Progress {
    /// Of `total` runs, `before` are finished already.
    pub fn new(console: &Console, total: u64, before: u64) -> Self {
        let is_terminal = !console.json() && std::io::stderr().is_terminal();
        let bar = is_terminal.then(|| {
            let bar = console.bars().add(ProgressBar::new(total).with_style(style()));
            bar.set_position(before);
            bar
        });
        Self { console: console.clone(), bar, begun: Instant::now(), total, before, done: before }
    }

    /// A run has finished.
    pub fn done(&mut self, record: &Record) {
        self.done += 1;
        let result = match (&record.failed, &record.last) {
            (Some(reason), _) => format!("failed: {}", printable(reason)),
            (None, Some(test)) => format!("test accuracy {}", percent(test.accuracy)),
            (None, None) => "no test split".to_owned(),
        };
        let text = format!("{} seed {}: {result}", record.variant, record.seed);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(format!("{text}{}", self.left()));
        } else {
            self.console.note(format_args!("run {} of {}  {text}{}", self.done, self.total, self.left()));
        }
    }

    /// What the finished runs let expect of the others.
    fn left(&self) -> String {
        let (new, left) = (self.done - self.before, self.total.saturating_sub(self.done));
        let seconds = self.begun.elapsed().as_secs_f64() * left as f64 / new.max(1) as f64;
        let time = Duration::from_secs_f64(seconds.round());
        if left == 0 { String::new() } else { format!(", about {} left", indicatif::HumanDuration(time)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::expect_used, reason = "the template is constant")]
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{pos}/{len} runs {wide_bar} {elapsed}\n{wide_msg}")
        .expect("a valid template")
}
