//! After all faults have ended, every job ends within a bounded time.

use super::Broken;

/// Records whether the deadline was missed.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) broken: Broken,
}

impl Progress {
    /// The deadline has come, and some job has not ended.
    pub(crate) fn deadline(&mut self, states: &str) {
        self.broken.note(format!("a job hangs although everything is repaired: {states}"));
    }
}
