//! What happens while the state cannot be stored: calls that would change something are refused before they have an
//! effect, and training jobs wait between two outer steps, so that nothing gathers in memory.

use super::Core;
use super::active::{Phase, Training};
use super::cluster::Cluster;
use super::event::CallError;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::record::NoticeKind;
use crate::training::Trainer;

/// Why the state cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageFailure {
    /// Whether there is no room on the disk. Otherwise the disk fails in another way.
    pub full: bool,
    /// The file and the error, for people.
    pub reason: String,
}

impl std::fmt::Display for StorageFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.full { "disk is full" } else { "state cannot be stored" };
        write!(formatter, "the coordinator's {what}: {}", self.reason)
    }
}

impl Core {
    /// The state cannot be stored any more, or can be stored again: then the jobs that wait for it go on.
    pub(super) fn storage_changed(&mut self, failure: Option<StorageFailure>) {
        self.cluster.storage_failure = failure;
        if self.cluster.storage_failure.is_some() {
            return;
        }
        let waits = |job: &Job| job.active.as_ref().is_some_and(|active| active.awaits_storage());
        let waiting: Vec<_> =
            self.jobs.iter().filter(|(_, job)| waits(job)).map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.on_job(&id, Cluster::go_on_storing);
        }
    }
}

impl Cluster {
    /// Refuses what would have to be stored, while nothing can be.
    pub(super) fn check_storage(&self) -> Result<(), CallError> {
        self.storage_failure.clone().map_or(Ok(()), |failure| Err(CallError::Storage(failure)))
    }

    /// Lets a job wait between two outer steps if the state cannot be stored; else returns its trainer. `due`: a checkpoint
    /// is due.
    pub(super) fn await_storage(
        &mut self,
        job: &mut Job,
        trainer: Box<Trainer>,
        due: bool,
    ) -> Result<Option<Box<Trainer>>, Halt> {
        // A shutdown does not wait for the disk: the job resumes from its newest checkpoint.
        let Some(failure) = self.storage_failure.as_ref().filter(|_| !self.stopping) else {
            return Ok(Some(trainer));
        };
        let message = format!("training waits until its results can be stored: {failure}");
        let training = job.require_training()?;
        training.phase = Phase::AwaitingStorage(trainer, due);
        tracing::warn!(job = %job.id(), outer = job.outer_step(), "training waits for the disk");
        self.note_of_kind(job, NoticeKind::Storage, &message);
        Ok(None)
    }

    fn go_on_storing(&mut self, job: &mut Job) -> Handled {
        let Some((trainer, due)) = job.require_training()?.take_awaiting_storage() else { return Ok(()) };
        self.note_of_kind(job, NoticeKind::Storage, "training goes on: its results can be stored again");
        self.continue_training(job, trainer, due)
    }
}

impl Training {
    /// Takes the trainer if the job waits until the state can be stored, and whether a checkpoint is due.
    fn take_awaiting_storage(&mut self) -> Option<(Box<Trainer>, bool)> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::AwaitingStorage(trainer, due) => Some((trainer, due)),
            other => {
                self.phase = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
