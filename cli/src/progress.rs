//! Display of a job's progress: a bar on a terminal, plain lines elsewhere, nothing if the output is JSON.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;

use crate::console::Console;
use crate::text::{loss, percent, printable, reason};
use crate::watch::time_of;

/// After an outer step with a test, a plain line is due if the last one is at least this old.
const LINE_AFTER_TEST: Duration = Duration::from_millis(500);
/// After any other outer step, a plain line is due if the last one is at least this old.
const LINE_ANYWAY: Duration = Duration::from_secs(10);
/// Weight of the newest outer step in the running means of speed.
const NEWEST: f64 = 0.1;

/// Displays the progress of one job.
pub struct Progress {
    console: Console,
    bar: Option<ProgressBar>,
    lines: Lines,
    speed: Speed,
    total: u64,
    last_test: Option<f64>,
    last_state: v1::JobState,
    /// What the job waited for when that was told last; empty if it waited for nothing.
    told_wait: String,
}

impl Progress {
    /// Displays a bar if standard error is a terminal.
    pub fn new(console: &Console) -> Self {
        let terminal = !console.json() && std::io::stderr().is_terminal();
        let bar = terminal.then(|| console.bars().add(ProgressBar::new(0).with_style(style())));
        Self {
            console: console.clone(),
            bar,
            lines: Lines::default(),
            speed: Speed::default(),
            total: 0,
            last_test: None,
            last_state: v1::JobState::Unspecified,
            told_wait: String::new(),
        }
    }

    /// Reports what the job waits for, if that has changed.
    pub fn waits(&mut self, job: &v1::Job) {
        if let Some(wait) = self.new_wait(job) {
            self.console.note(wait);
        }
    }

    fn new_wait(&mut self, job: &v1::Job) -> Option<String> {
        let is_new = self.told_wait != job.waiting_for;
        self.told_wait.clone_from(&job.waiting_for);
        (is_new && !job.waiting_for.is_empty())
            .then(|| format!("{} waits for {}", job.id, printable(&job.waiting_for)))
    }

    /// Reports a change of the job. Checkpoints of a running job are routine and not reported.
    pub fn notice(&mut self, job_id: &str, notice: &v1::JobNotice) {
        self.set_total(notice.total_outer_steps);
        let state = state_name(notice.state());
        let same_state = std::mem::replace(&mut self.last_state, notice.state()) == notice.state();
        if same_state && notice.kind() == v1::NoticeKind::Checkpoint {
            return;
        }
        let message = printable(reason(notice.state(), &notice.message));
        let colon = if message.is_empty() { "" } else { ": " };
        self.console.note(format_args!("{job_id} {state}{colon}{message}"));
    }

    /// Sets the total number of outer steps; 0 means that it is not known yet.
    pub fn set_total(&mut self, total: u64) {
        if total > 0 {
            self.total = total;
        }
    }

    /// Reports that the connection is lost and being restored.
    pub fn lost(&self, reason: &str) {
        self.console.note(format_args!("connection lost, trying again: {}", printable(reason)));
    }

    /// Shows a completed outer step.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) {
        self.speed.add(step);
        if let Some(test) = &step.test {
            self.last_test = Some(test.accuracy);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.total.max(step.outer_step));
                bar.set_message(self.text(step));
                bar.set_position(step.outer_step);
            }
            None => {
                if self.lines.is_due(Instant::now(), step.test.is_some(), step.outer_step == self.total) {
                    self.console.note(self.line(step));
                }
            }
        }
    }

    /// A plain line. The total is left out until it is known.
    fn line(&self, step: &v1::OuterStepMetrics) -> String {
        let total = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
        let (done, epoch) = (step.outer_step, step.epoch + 1);
        format!("outer step {done}{total}  epoch {epoch}  {}", self.text(step))
    }

    /// Removes the bar.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The text of the bar. The most important values come first, because narrow terminals cut off the end.
    fn text(&self, step: &v1::OuterStepMetrics) -> String {
        let left = match self.total {
            // Not known yet.
            0 => String::new(),
            total => {
                let steps = total.saturating_sub(step.outer_step);
                format!("  {} left", duration(self.speed.seconds_left(steps)))
            }
        };
        let samples = HumanCount(self.speed.samples_per_second() as u64);
        let test = self.last_test.map_or(String::new(), |test| format!("  test {}", percent(test)));
        let (loss, accuracy) = (loss(step.loss), percent(step.accuracy));
        format!("loss {loss}  accuracy {accuracy}{test}{left}  {samples} samples/s")
    }
}

/// Formats seconds in their two largest units.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:10} {percent:>3}%  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Running means of the speed, from the durations that the coordinator reports. A watcher that catches up with a job
/// thus sees the job's speed, not that of its own connection.
#[derive(Debug, Default)]
struct Speed {
    means: Option<(f64, f64)>,
}

impl Speed {
    fn add(&mut self, step: &v1::OuterStepMetrics) {
        let seconds = time_of(step).total;
        let samples = step.samples as f64;
        self.means = Some(match self.means {
            None => (seconds, samples),
            Some((s, n)) => (s + NEWEST * (seconds - s), n + NEWEST * (samples - n)),
        });
    }

    fn samples_per_second(&self) -> f64 {
        self.means.map_or(0.0, |(seconds, samples)| if seconds > 0.0 { samples / seconds } else { 0.0 })
    }

    fn seconds_left(&self, steps: u64) -> f64 {
        self.means.map_or(0.0, |(seconds, _)| seconds * steps as f64)
    }
}

/// Decides when a plain line is due.
#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
}

impl Lines {
    fn is_due(&mut self, now: Instant, tested: bool, is_last: bool) -> bool {
        let due = match self.last {
            None => true,
            Some(last) => {
                let silent = now.saturating_duration_since(last);
                is_last || silent >= LINE_ANYWAY || (tested && silent >= LINE_AFTER_TEST)
            }
        };
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests;
