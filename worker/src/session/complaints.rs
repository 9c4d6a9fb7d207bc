//! How often a worker says that it cannot reach its coordinator: at once when there is something new, and otherwise now
//! and then, so that waiting does not fill the log.

use std::time::{Duration, Instant};

/// After this time a reason is said again.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// Another reason is not said sooner than this after the one before.
const CHANGED: Duration = Duration::from_secs(10);

/// What was said last since the worker was registered.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<(Instant, String)>,
}

impl Complaints {
    /// Whether to say at this time why an attempt failed.
    pub(super) fn is_due(&mut self, now: Instant, reason: &str) -> bool {
        let due = self.last.as_ref().is_none_or(|(at, said)| {
            let silent = now.saturating_duration_since(*at);
            silent >= if said == reason { AGAIN } else { CHANGED }
        });
        if due {
            self.last = Some((now, reason.to_owned()));
        }
        due
    }

    /// The worker was registered: whatever comes next is new.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests;
