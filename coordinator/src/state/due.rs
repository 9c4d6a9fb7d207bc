//! Whether a test is due between two outer steps.

use lookbehind_common::sampling::Position;

use super::job::Job;

/// Whether a periodic test is due after the outer step from `before` to `after`. After the last outer step of a job
/// one is always due.
pub(super) fn is_test_due(job: &Job, before: Position, after: Position) -> bool {
    job.spec.eval_every_epochs.is_some_and(|every| epoch_reached(before, after, every))
}

/// Whether the outer step from `before` to `after` completed an epoch whose number is a multiple of `every`.
pub(super) fn epoch_reached(before: Position, after: Position, every: u64) -> bool {
    after.epoch > before.epoch && after.epoch.is_multiple_of(every)
}
