//! A job with `resources.verify` computes outer steps only while workers of two identities take part: with one, nothing
//! could be compared.

use lookbehind_common::ids::{JobId, SessionId};

use super::Core;
use super::active::{Closing, Phase};
use super::cluster::Cluster;
use super::halt::{Halt, Handled};
use super::job::Job;
use crate::training::Trainer;

/// What a job says that lacks one.
pub(super) const WAITS_FOR_SECOND: &str = "waits for a worker of a second identity (resources.verify)";

/// How long it keeps its workers meanwhile, in multiples of failure detection. Two such jobs may hold the workers that the
/// other one lacks.
const LONGEST_WAIT: u32 = 30;

impl Cluster {
    /// Whether these workers can verify each other, if the job asks for it.
    pub(super) fn can_verify(&self, job: &Job, workers: impl IntoIterator<Item = SessionId>) -> bool {
        job.spec.resources.verify == 0 || self.workers.parties(workers).len() > 1
    }

    fn lacks_second(&self, job: &Job) -> Result<bool, Halt> {
        let prepared = job.require_active()?.prepared();
        Ok(!self.can_verify(job, prepared))
    }

    /// Holds the next outer step back if nobody could verify it. Returns the trainer if it may begin.
    pub(super) fn await_second(
        &mut self,
        job: &mut Job,
        trainer: Box<Trainer>,
    ) -> Result<Option<Box<Trainer>>, Halt> {
        if !self.lacks_second(job)? {
            return Ok(Some(trainer));
        }
        job.require_training()?.phase = Phase::AwaitingSecond(trainer, self.now.elapsed);
        self.note_of_worker(job, WAITS_FOR_SECOND);
        Ok(None)
    }

    /// Goes on with a job that waits for a second identity, if there is one now or the job is to stop. After a while it
    /// leaves its workers to others.
    pub(super) fn check_second_identity(&mut self, job: &mut Job) -> Handled {
        let grace = self.config.worker_grace.min(self.config.failure_detection * LONGEST_WAIT);
        let preempted = job.require_active()?.preempted;
        let Phase::AwaitingSecond(_, since) = job.require_training()?.phase else { return Ok(()) };
        let is_overdue = self.now.elapsed.saturating_sub(since) > grace;
        let stops = job.record.pausing || self.stopping || preempted;
        if !stops && !is_overdue && self.lacks_second(job)? {
            return Ok(());
        }
        let Some(trainer) = job.require_training()?.take_awaiting_second() else { return Ok(()) };
        if stops {
            return self.continue_training(job, trainer, false);
        }
        if self.lacks_second(job)? {
            return self.close(job, &trainer, Closing::Unverified);
        }
        self.begin_outer_step(job, trainer)
    }
}

impl Core {
    /// Checks the jobs that wait for a second identity.
    pub(super) fn check_second_identities(&mut self) {
        let waits = |job: &&Job| {
            let training = job.active.as_ref().and_then(|active| active.training());
            training.is_some_and(|training| matches!(training.phase, Phase::AwaitingSecond(..)))
        };
        let ids: Vec<JobId> = self.jobs.values().filter(waits).map(|job| job.id().clone()).collect();
        for id in ids {
            self.on_job(&id, |cluster, job| cluster.check_second_identity(job));
        }
    }
}

/// The final message of a job that verified `shards` shards in all.
pub(super) fn verified(shards: u64) -> String {
    format!("finished; {shards} shards were computed by two workers with equal bytes")
}

/// Why a job that was to be verified pauses although its last outer step is done.
pub(super) fn nothing_verified(outer_steps: u64) -> String {
    format!(
        "all {outer_steps} outer steps are done, but no shard was computed by workers of two identities \
         (resources.verify): nothing vouches for the weights; resume it to accept them"
    )
}
