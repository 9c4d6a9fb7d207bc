//! Once everything is repaired, every job ends within a bounded time.

use super::Broken;

/// Watches the time.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) broken: Broken,
}

impl Progress {
    /// The time is over and not every job is.
    pub(crate) fn deadline(&mut self, states: &str) {
        self.broken.note(format!("a job hangs although everything is repaired: {states}"));
    }
}
