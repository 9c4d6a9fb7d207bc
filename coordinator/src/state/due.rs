//! What is due between two outer steps.

use lookbehind_common::job::Length;
use lookbehind_common::sampling::Position;

use super::job::Job;

/// Whether the job wants a checkpoint between the outer step from `before` to `after` and the next one.
pub(super) fn is_checkpoint_due(job: &Job, before: Position, after: Position) -> bool {
    match job.spec.checkpoint.every {
        None => false,
        Some(Length::Epochs(every)) => epoch_reached(before, after, every),
        Some(Length::Steps(every)) => after.outer_step.is_multiple_of(every),
    }
}

/// Whether the test split is to be evaluated after the outer step from `before` to `after`, apart from the last one,
/// after which it always is.
pub(super) fn is_test_due(job: &Job, before: Position, after: Position) -> bool {
    job.spec.eval_every_epochs.is_some_and(|every| epoch_reached(before, after, every))
}

/// Whether the outer step from `before` to `after` completed an epoch whose number is a multiple of `every`.
fn epoch_reached(before: Position, after: Position, every: u64) -> bool {
    after.epoch > before.epoch && after.epoch.is_multiple_of(every)
}
