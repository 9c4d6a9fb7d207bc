//! Checkpoints of a training job: the periodic ones, and the one after which it stops.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::OnFailure;
use lookbehind_common::selection::{Criteria, Selection};

use super::active::{Closing, Phase, Stage};
use super::cluster::Cluster;
use super::command::Command;
use super::event::Activation;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::record::{JobState, NoticeKind};
use super::second_identity::{WAITS_FOR_SECOND, nothing_verified, verified};
use crate::training::{Snapshot, Start, Trainer};

impl Cluster {
    /// Continues between two outer steps: waits if nothing can be stored; stops if the job is done or a pause or shutdown
    /// was requested; else writes a checkpoint if one is due, and begins the next outer step.
    pub(super) fn continue_training(&mut self, job: &mut Job, trainer: Box<Trainer>, due: bool) -> Handled {
        let Some(trainer) = self.await_storage(job, trainer, due)? else { return Ok(()) };
        let (pausing, now) = (job.record.pausing, self.now.elapsed);
        let preempted = job.require_active()?.preempted;
        let criteria = Criteria::of(&job.spec);
        let training = job.require_training()?;
        if training.step.outer_step >= training.plan.outer_steps
            || training.selection.stops(&criteria).is_some()
        {
            return self.close(job, &trainer, Closing::Done);
        }
        if pausing {
            return self.close(job, &trainer, Closing::Pause);
        }
        if self.stopping {
            return self.close(job, &trainer, Closing::Shutdown);
        }
        if preempted {
            return self.close(job, &trainer, Closing::Preempted);
        }
        if due && training.pace.is_writing() {
            training.phase = Phase::AwaitingDisk(trainer);
            return Ok(());
        }
        // The job does not wait for this checkpoint: the snapshot keeps the weights as they are now.
        if due {
            training.pace.begin(now);
            self.push(checkpoint_command(job, &trainer)?);
        }
        self.begin_outer_step(job, trainer)
    }

    /// Writes a last checkpoint, after which the job stops.
    pub(super) fn close(&mut self, job: &mut Job, trainer: &Trainer, closing: Closing) -> Handled {
        let command = checkpoint_command(job, trainer)?;
        job.require_training()?.phase = Phase::Closing(closing);
        self.push(command);
        Ok(())
    }

    /// Handles the result of writing a checkpoint.
    pub(super) fn checkpointed(
        &mut self,
        job: &mut Job,
        activation: Activation,
        outer_step: u64,
        result: Result<Digest, String>,
    ) -> Handled {
        job.in_activation(activation)?;
        let digest = match result {
            Ok(digest) => digest,
            Err(reason) => return self.checkpoint_failed(job, outer_step, &reason),
        };
        job.record.checkpoint = job.record.checkpoint.max(Some(outer_step));
        if let Some(trainer) = job.require_active_mut()?.take_stored() {
            return self.run(job, Start { trainer, recorded: 0, selection: Selection::default() });
        }
        let training = job.require_training()?;
        match training.phase {
            // A periodic checkpoint may become durable while the last one is being written: only that one ends
            // the job.
            Phase::Closing(closing) if training.step.outer_step == outer_step => {
                self.closed(job, closing, digest)
            }
            _ => {
                let message = format!("checkpoint of outer step {outer_step}");
                self.note_of_kind(job, NoticeKind::Checkpoint, &message);
                self.allow_next_checkpoint(job)
            }
        }
    }

    /// A periodic checkpoint was written, or has failed: the next one may be written.
    fn allow_next_checkpoint(&mut self, job: &mut Job) -> Handled {
        let now = self.now.elapsed;
        let training = job.require_training()?;
        training.pace.end(now);
        match training.take_awaiting_disk() {
            Some(trainer) => self.continue_training(job, trainer, true),
            None => Ok(()),
        }
    }

    /// Handles a checkpoint that could not be written; the earlier ones are unchanged.
    fn checkpoint_failed(&mut self, job: &mut Job, outer_step: u64, reason: &str) -> Handled {
        let reason = format!("checkpoint of outer step {outer_step} could not be written: {reason}");
        tracing::error!(job = %job.id(), reason, "checkpoint failed");
        let policy = job.spec.checkpoint.on_failure;
        let closing = match &job.require_active()?.stage {
            Stage::Training(training) => match training.phase {
                Phase::Closing(closing) if training.step.outer_step == outer_step => closing,
                _ if policy == OnFailure::Continue => {
                    self.note_of_kind(job, NoticeKind::CheckpointFailed, &reason);
                    return self.allow_next_checkpoint(job);
                }
                _ => Closing::Pause,
            },
            Stage::Storing(_) => Closing::Pause,
            Stage::Describing | Stage::Drawing(_) | Stage::Loading => {
                return Err(Halt::Broken("only a job that has weights writes checkpoints"));
            }
        };
        match (policy, closing) {
            (OnFailure::Fail, _) => return Err(Halt::Failed(reason)),
            (_, Closing::Shutdown) => self.note_of_kind(job, NoticeKind::CheckpointFailed, &reason),
            (_, Closing::Done | Closing::Pause | Closing::Preempted | Closing::Unverified) => {
                self.set_state(job, JobState::Paused, &reason)
            }
        }
        self.release(job);
        Ok(())
    }

    /// Stops a job whose last checkpoint is durable.
    fn closed(&mut self, job: &mut Job, closing: Closing, digest: Digest) -> Handled {
        match closing {
            Closing::Done => {
                job.record.digest = Some(digest);
                let has_computed = job.require_active()?.has_computed;
                let criteria = Criteria::of(&job.spec);
                let stopped = job.require_training()?.selection.stops(&criteria);
                let (state, message) = match (job.spec.resources.verify, job.record.verified) {
                    (0, _) => (JobState::Succeeded, stopped.unwrap_or_else(|| "finished".to_owned())),
                    // Its owner decides. If it is resumed, or the coordinator was restarted at the very end before the
                    // number was stored, it computes nothing more and has succeeded.
                    (_, 0) if has_computed => {
                        (JobState::Paused, nothing_verified(job.record.total_outer_steps))
                    }
                    (_, shards) => {
                        let verified = verified(shards);
                        let message = stopped.map(|stopped| format!("{stopped}; {verified}"));
                        (JobState::Succeeded, message.unwrap_or(verified))
                    }
                };
                tracing::info!(job = %job.id(), %digest, message, "job finished");
                self.set_state(job, state, &message);
            }
            Closing::Pause | Closing::Preempted | Closing::Unverified if job.record.pausing => {
                self.set_state(job, JobState::Paused, "paused by its user");
            }
            // The pause was revoked while the checkpoint was being written.
            Closing::Pause => self.set_state(job, JobState::Queued, "resumed by its user"),
            Closing::Preempted => self.set_state(job, JobState::Queued, MADE_WAY),
            Closing::Unverified => self.set_state(job, JobState::Queued, WAITS_FOR_SECOND),
            Closing::Shutdown => self.note(job, "the coordinator shuts down"),
        }
        self.release(job);
        Ok(())
    }
}

/// What a job says that has made way for one of a higher priority.
pub(super) const MADE_WAY: &str =
    "it has made way for a job of a higher priority, and goes on from its checkpoint when workers are free";

/// The command that writes a checkpoint at the trainer's position.
pub(super) fn checkpoint_command(job: &Job, trainer: &Trainer) -> Result<Command, Halt> {
    let active = job.require_active()?;
    let snapshot = Snapshot {
        job: job.id().clone(),
        description: Arc::clone(active.description()?),
        position: trainer.position(),
        state: trainer.state(),
        class: job.record.class.clone(),
        keep: job.spec.checkpoint.keep,
        selection: active.training().map(|training| training.selection).unwrap_or_default(),
    };
    Ok(Command::Checkpoint {
        job: job.id().clone(),
        activation: active.activation,
        snapshot: Box::new(snapshot),
    })
}
