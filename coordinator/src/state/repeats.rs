//! Notices that a worker can cause again and again: equal ones are counted and not stored each time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Core;
use super::cluster::Cluster;
use super::job::Job;

/// A notice is stored at most once in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// Number of different notices of a job that are watched for repetitions.
const WATCHED: usize = 64;

/// A notice that was stored, and its repetitions since.
#[derive(Debug)]
struct Repeated {
    at: Duration,
    times: u32,
}

/// The newest notices of a job.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<String, Repeated>);

impl Repeats {
    /// Whether a notice is to be stored. If not, it is counted.
    fn admit(&mut self, message: &str, now: Duration) -> bool {
        if let Some(earlier) = self.0.get_mut(message) {
            earlier.times += 1;
            return false;
        }
        if self.0.len() < WATCHED {
            self.0.insert(message.to_owned(), Repeated { at: now, times: 0 });
        }
        true
    }

    /// Takes the notices whose repetitions are to be told now.
    fn due(&mut self, now: Duration) -> Vec<String> {
        let is_due = |repeated: &Repeated| now.saturating_sub(repeated.at) >= INTERVAL;
        let told: Vec<String> = (self.0.iter())
            .filter(|(_, repeated)| is_due(repeated) && repeated.times > 0)
            .map(|(message, repeated)| format!("{message} ({} times)", repeated.times + 1))
            .collect();
        self.0.retain(|_, repeated| !is_due(repeated) || repeated.times > 0);
        for repeated in self.0.values_mut().filter(|repeated| is_due(repeated)) {
            *repeated = Repeated { at: now, times: 0 };
        }
        told
    }
}

impl Cluster {
    /// [`Self::note`] for what a worker can cause at will. An equal notice is told again after a while, with its number.
    pub(super) fn note_of_worker(&mut self, job: &mut Job, message: &str) {
        if job.repeats.admit(message, self.now.elapsed) {
            self.note(job, message);
        }
    }
}

impl Core {
    /// Tells the repetitions that are due.
    pub(super) fn tell_repetitions(&mut self) {
        for job in self.jobs.values_mut() {
            let told = job.repeats.due(self.cluster.now.elapsed);
            if !job.record.state.is_terminal() {
                told.iter().for_each(|message| self.cluster.note(job, message));
            }
        }
    }
}

#[cfg(test)]
mod tests;
