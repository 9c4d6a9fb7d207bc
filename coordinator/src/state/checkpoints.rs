//! Checkpoints of a job that trains: the periodic ones, and the one after which it stops.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::{Length, OnFailure};
use lookbehind_common::sampling::Position;

use super::Core;
use super::command::Command;
use super::event::Activation;
use super::job::{Closing, Job, Phase, Stage};
use super::record::JobState;
use super::running::epoch_reached;
use crate::training::{Snapshot, Trainer};

impl Core {
    /// Goes on between two outer steps: stops there if somebody wants that, else writes a checkpoint where one is
    /// due, and begins the next outer step.
    pub(super) fn go_on(&mut self, id: &JobId, trainer: Box<Trainer>, due: bool) {
        let stopping = self.stopping;
        let pausing = self.jobs.get(id).is_some_and(|job| job.record.pausing);
        let Some(training) = self.training_mut(id) else { return };
        let done = training.step.outer_step >= training.plan.outer_steps;
        match () {
            () if done => self.close(id, &trainer, Closing::Done),
            () if pausing => self.close(id, &trainer, Closing::Pause),
            () if stopping => self.close(id, &trainer, Closing::Shutdown),
            () if due && training.storing => training.phase = Phase::AwaitingDisk(trainer),
            () => {
                training.storing |= due;
                if due && let Some(command) = self.checkpoint_command(id, &trainer) {
                    self.push(command);
                }
                self.begin_outer_step(id, trainer);
            }
        }
    }

    /// The command that writes a checkpoint of where the job stands.
    pub(super) fn checkpoint_command(&self, id: &JobId, trainer: &Trainer) -> Option<Command> {
        let job = self.jobs.get(id)?;
        let active = job.active.as_ref()?;
        let (description, _) = active.described.as_ref()?;
        let snapshot = Snapshot {
            job: id.clone(),
            description: Arc::clone(description),
            position: trainer.position(),
            state: trainer.state(),
            class: job.record.class.clone(),
            keep: job.spec.checkpoint.keep,
        };
        Some(Command::Checkpoint(id.clone(), active.activation, Box::new(snapshot)))
    }

    /// Stops after a last checkpoint.
    pub(super) fn close(&mut self, id: &JobId, trainer: &Trainer, closing: Closing) {
        let Some(command) = self.checkpoint_command(id, trainer) else { return };
        if let Some(training) = self.training_mut(id) {
            training.phase = Phase::Closing(closing);
            self.push(command);
        }
    }

    /// A checkpoint is durable, or could not be written.
    pub(super) fn checkpointed(
        &mut self,
        id: &JobId,
        activation: Activation,
        outer_step: u64,
        result: Result<Digest, String>,
    ) {
        let Some(job) = self.active_job(id, activation) else { return };
        let digest = match result {
            Ok(digest) => digest,
            Err(reason) => return self.checkpoint_failed(id, outer_step, &reason),
        };
        job.record.checkpoint = job.record.checkpoint.max(Some(outer_step));
        let Some(active) = job.active.as_mut() else { return };
        match &mut active.stage {
            Stage::Storing(_) => {
                let Stage::Storing(trainer) = std::mem::replace(&mut active.stage, Stage::Loading) else {
                    return;
                };
                self.run(id, trainer);
            }
            Stage::Training(training) => match training.phase {
                // An earlier checkpoint may become durable only now: the job ends with its last one.
                Phase::Closing(closing) if training.step.outer_step == outer_step => {
                    self.closed(id, closing, digest);
                }
                _ => {
                    self.note(id, &format!("checkpoint of outer step {outer_step}"));
                    self.disk_free(id);
                }
            },
            _ => {}
        }
    }

    /// The periodic checkpoint is off the disk's hands: the next one may be written.
    fn disk_free(&mut self, id: &JobId) {
        let Some(training) = self.training_mut(id) else { return };
        training.storing = false;
        match std::mem::replace(&mut training.phase, Phase::Advancing) {
            Phase::AwaitingDisk(trainer) => self.go_on(id, trainer, true),
            phase => training.phase = phase,
        }
    }

    /// A checkpoint could not be written; the earlier ones are as they were.
    fn checkpoint_failed(&mut self, id: &JobId, outer_step: u64, reason: &str) {
        let reason = format!("checkpoint of outer step {outer_step} could not be written: {reason}");
        tracing::error!(job = %id, reason, "checkpoint failed");
        let Some(job) = self.jobs.get(id) else { return };
        let policy = job.spec.checkpoint.on_failure;
        let closing = match job.active.as_ref().map(|active| &active.stage) {
            Some(Stage::Training(training)) => match training.phase {
                Phase::Closing(closing) if training.step.outer_step == outer_step => closing,
                _ if policy == OnFailure::Continue => {
                    self.note(id, &reason);
                    return self.disk_free(id);
                }
                _ => Closing::Pause,
            },
            _ => Closing::Pause,
        };
        match (policy, closing) {
            (OnFailure::Fail, _) => return self.fail(id, &reason),
            (_, Closing::Shutdown) => self.note(id, &reason),
            (_, Closing::Done | Closing::Pause) => self.set_state(id, JobState::Paused, &reason),
        }
        self.release(id);
    }

    fn closed(&mut self, id: &JobId, closing: Closing, digest: Digest) {
        let pausing = self.jobs.get(id).is_some_and(|job| job.record.pausing);
        match closing {
            Closing::Done => {
                if let Some(job) = self.jobs.get_mut(id) {
                    job.record.digest = Some(digest);
                }
                tracing::info!(job = %id, %digest, "job succeeded");
                self.set_state(id, JobState::Succeeded, "finished");
            }
            Closing::Pause if pausing => self.set_state(id, JobState::Paused, "paused by its user"),
            Closing::Pause => self.set_state(id, JobState::Queued, "resumed by its user"),
            Closing::Shutdown => self.note(id, "the coordinator shuts down"),
        }
        self.release(id);
    }
}

/// Whether the job wants a checkpoint between the outer step from `before` to `after` and the next one.
pub(super) fn is_checkpoint_due(job: &Job, before: Position, after: Position) -> bool {
    match job.spec.checkpoint.every {
        None => false,
        Some(Length::Epochs(every)) => epoch_reached(before, after, every),
        Some(Length::Steps(every)) => after.outer_step.is_multiple_of(every),
    }
}
