//! When the periodic checkpoints of a training job are due.

use std::time::Duration;

use lookbehind_common::job::{CheckpointInterval, Length};
use lookbehind_common::sampling::Position;

use super::due::epoch_reached;

/// One over the largest share of the time that writing checkpoints by time may take.
const SHARE: u32 = 20;

/// The periodic checkpoints of a job since its activation began to train.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the newest one was begun; before the first one, when training began.
    begun: Duration,
    /// How long the newest one took until it was durable or had failed.
    took: Duration,
    /// Whether one is being written. Only one at a time, because each holds a copy of the weights.
    writing: bool,
}

impl Pace {
    /// No checkpoint was written since training began, now.
    pub(super) fn new(now: Duration) -> Self {
        Self { begun: now, took: Duration::ZERO, writing: false }
    }

    /// One is being written from now on.
    pub(super) fn begin(&mut self, now: Duration) {
        self.begun = now;
        self.writing = true;
    }

    /// The one that was being written is durable, or has failed.
    pub(super) fn end(&mut self, now: Duration) {
        self.took = now.saturating_sub(self.begun);
        self.writing = false;
    }

    /// Whether one is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }

    /// Whether one is due after the outer step from `before` to `after`, which has ended now.
    pub(super) fn is_due(
        &self,
        every: CheckpointInterval,
        before: Position,
        after: Position,
        now: Duration,
    ) -> bool {
        match every {
            CheckpointInterval::AtEnd => false,
            CheckpointInterval::Length(Length::Epochs(every)) => epoch_reached(before, after, every),
            CheckpointInterval::Length(Length::Steps(every)) => after.outer_step.is_multiple_of(every),
            CheckpointInterval::Time(every) => {
                // The job does not wait for a checkpoint by time: it writes none while one is being written.
                let interval = every.max(self.took.saturating_mul(SHARE));
                !self.writing && now.saturating_sub(self.begun) >= interval
            }
        }
    }
}

#[cfg(test)]
mod tests;
