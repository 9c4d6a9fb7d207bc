//! Preparation of a job, from its first worker to its first outer step: description, compute class, initial weights,
//! checkpoint 0.

use std::sync::Arc;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{InitSpec, JobDescription, JobSpec, ResourcesSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::partial_lengths;
use lookbehind_common::sampling::{Plan, Position};

use super::Core;
use super::active::{Active, Phase, Stage, Training};
use super::assign::Division;
use super::assign::routes::Routes;
use super::checkpoint_room::{CheckpointRoom, kept_bytes};
use super::checkpoints::checkpoint_command;
use super::cluster::Cluster;
use super::command::{Command, Source, StartFrom, WorkerCommand};
use super::event::{Activation, Admission, Origin};
use super::halt::{Halt, Handled};
use super::job::Job;
use super::pace::Pace;
use super::planning::plan;
use super::record::{InitialCheckpoint, JobState};
use super::step::Step;
use crate::training::{Start, StartError, Trainer};

/// What other jobs leave to a job, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// Of the coordinator's memory.
    pub(super) memory: u64,
    /// For its checkpoints; `None` if it may write them whatever there is.
    pub(super) checkpoints: Option<CheckpointRoom>,
}

impl Cluster {
    /// Model and data of the job are known now: checks plan and memory, then obtains the weights to start from.
    pub(super) fn described(
        &mut self,
        job: &mut Job,
        session: SessionId,
        description: &Arc<JobDescription>,
        left: Left,
    ) -> Handled {
        let (needed, plan) = self.requirements(job, description, left).map_err(Halt::Failed)?;
        job.flat_buffer_bytes = Some(needed);
        job.checkpoint_bytes = Some(kept_bytes(&job.spec, description));
        job.record.total_outer_steps = plan.outer_steps;
        // More than there is at all is an error; more than is free now only makes the job wait.
        if needed > left.memory {
            let message = format!("waits until the coordinator has {needed} bytes of memory for it");
            self.set_state(job, JobState::Queued, &message);
            self.release(job);
            return Ok(());
        }
        let source = match (job.record.checkpoint, &job.spec.model.init) {
            (Some(_), _) => Source::Checkpoint,
            (None, Some(InitSpec::File(digest))) => Source::Upload(*digest),
            (None, Some(InitSpec::Job { .. })) => Source::Job(job.require_initial_checkpoint()?.clone()),
            (None, None) => return self.request_initial_state(job, session),
        };
        let start = StartFrom { spec: job.spec.clone(), description: Arc::clone(description), source };
        let active = job.require_active_mut()?;
        active.stage = Stage::Loading;
        let activation = active.activation;
        self.push(Command::Load { job: job.id().clone(), activation, start: Box::new(start) });
        Ok(())
    }

    /// The memory in bytes that a job with this description needs, and its plan. Checks that its checkpoints fit.
    ///
    /// # Errors
    /// If no job can run on it.
    pub(super) fn requirements(
        &self,
        job: &Job,
        description: &JobDescription,
        left: Left,
    ) -> Result<(u64, Plan), String> {
        let plan = plan(&job.spec, description)?;
        let needed = flat_buffer_bytes(&job.spec, description);
        let memory = self.config.memory;
        if needed > memory {
            return Err(format!(
                "memory: the job needs {needed} bytes on the coordinator, which has {memory}"
            ));
        }
        if let Some(room) = left.checkpoints {
            room.check(&job.spec, description)?;
        }
        Ok((needed, plan))
    }

    pub(super) fn request_initial_state(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let active = job.require_active_mut()?;
        active.stage = Stage::Drawing(session);
        active.requested_initial_state_at = self.now.elapsed;
        self.push(Command::Send(session, WorkerCommand::SendInitialState(job.id().clone())));
        Ok(())
    }

    /// The worker that was to send the initial weights has left: asks another prepared one, or the next to become
    /// prepared.
    pub(super) fn request_initial_state_elsewhere(&mut self, job: &mut Job) -> Handled {
        let active = job.require_active_mut()?;
        let mut prepared = active.members.iter().filter(|(_, member)| member.prepared);
        match prepared.next().map(|(session, _)| *session) {
            Some(session) => self.request_initial_state(job, session),
            None => {
                active.stage = Stage::Describing;
                Ok(())
            }
        }
    }

    /// Creates the trainer with admitted initial weights.
    fn start_at(&mut self, job: &mut Job, weights: ModelState<FlatBuffer>) -> Handled {
        let description = job.require_active()?.description()?;
        let trainer =
            Trainer::new(&job.spec, description, weights).map_err(|error| Halt::Failed(error.to_string()))?;
        self.store_start(job, Box::new(trainer))
    }

    /// Handles the result of loading the weights to start from.
    pub(super) fn loaded(
        &mut self,
        job: &mut Job,
        activation: Activation,
        result: Result<Start, StartError>,
    ) -> Handled {
        job.in_activation(activation)?;
        let start = result.map_err(|error| Halt::Failed(error.to_string()))?;
        match job.record.checkpoint {
            Some(_) => self.run(job, start),
            None => {
                check_start(job, start.trainer.position())?;
                self.store_start(job, start.trainer)
            }
        }
    }

    /// Has the checkpoint kept that a job starts from, until the job has checkpoints of its own.
    pub(super) fn adopt(&mut self, job: &Job) {
        if let (Some(initial), None) = (&job.record.initial_checkpoint, job.record.checkpoint) {
            self.push(Command::Adopt(job.id().clone(), initial.clone()));
        }
    }

    /// Makes the initial weights durable as checkpoint 0 before the first outer step: the job can always resume from a
    /// checkpoint.
    fn store_start(&mut self, job: &mut Job, trainer: Box<Trainer>) -> Handled {
        let command = checkpoint_command(job, &trainer)?;
        job.require_active_mut()?.stage = Stage::Storing(trainer);
        self.push(command);
        Ok(())
    }

    /// Begins training at the trainer's position.
    pub(super) fn run(&mut self, job: &mut Job, start: Start) -> Handled {
        let Start { trainer, recorded, selection } = start;
        let description = Arc::clone(job.require_active()?.description()?);
        let plan = plan(&job.spec, &description).map_err(Halt::Failed)?;
        let partials = partial_lengths(&job.spec.optimizer, &description.layout);
        let position = trainer.position();
        // Whoever said that the job cannot be prepared was wrong.
        job.faults.clear();
        job.require_active_mut()?.stage = Stage::Training(Box::new(Training {
            description,
            plan,
            partials,
            step: Step::new(position, self.now.elapsed),
            weights_version: 0,
            weights_digests: Arc::default(),
            exchange_seconds: None,
            routes: Routes::default(),
            division: Division::new(),
            pace: Pace::new(self.now.elapsed),
            recorded,
            selection,
            phase: Phase::Advancing,
        }));
        let from = position.outer_step;
        tracing::info!(job = %job.id(), outer = from, of = plan.outer_steps, recorded, "job trains");
        let message = match recorded > from {
            true => format!("goes on from outer step {from}; outer steps up to {recorded} are done again"),
            false => format!("training from outer step {from}"),
        };
        self.set_state(job, JobState::Running, &message);
        self.begin_outer_step(job, trainer)
    }
}

impl Core {
    /// Whether a worker may upload initial weights of these lengths, in elements.
    pub(super) fn admit_initial_state(
        &self,
        origin: &Origin,
        id: &JobId,
        lengths: ModelState<u64>,
    ) -> Admission {
        if !self.cluster.is_current(origin) {
            return Admission::Stale(self.cluster.stale(origin));
        }
        match self.jobs.get(id).and_then(|job| job.active.as_ref()) {
            Some(active) => admit_to(active, id, origin.session(), lengths),
            None => Admission::Stale(format!("job {id} is not active")),
        }
    }

    /// Takes completely received initial weights, if they are still admitted.
    pub(super) fn take_initial_state(
        &mut self,
        origin: &Origin,
        id: &JobId,
        weights: ModelState<FlatBuffer>,
    ) -> Admission {
        let lengths = weights.lengths().map(|length| length as u64);
        let admission = self.admit_initial_state(origin, id, lengths);
        if admission == Admission::Granted {
            self.on_job(id, |cluster, job| {
                if let Some(member) = job.require_active_mut()?.members.get_mut(&origin.session()) {
                    member.transfers.ended_well();
                }
                cluster.start_at(job, weights)
            });
        }
        admission
    }

    /// Whether the other active jobs leave enough memory for this one. True while its need is unknown.
    pub(super) fn has_memory(&self, job: &Job) -> bool {
        self.lacks_memory(job).is_none()
    }

    /// The memory in bytes that a job needs and that the other active jobs leave free, if it is not enough.
    pub(super) fn lacks_memory(&self, job: &Job) -> Option<(u64, u64)> {
        let (needed, left) = (job.flat_buffer_bytes?, self.memory_left(job.id()));
        (needed > left).then_some((needed, left))
    }

    /// What the other jobs leave to this one.
    pub(super) fn left(&self, id: &JobId) -> Left {
        Left { memory: self.memory_left(id), checkpoints: self.checkpoint_room(id) }
    }

    /// Memory in bytes that the other active jobs leave free.
    fn memory_left(&self, id: &JobId) -> u64 {
        let others = self.jobs.values().filter(|other| other.active.is_some() && other.id() != id);
        let in_use: u64 = others.filter_map(|other| other.flat_buffer_bytes).sum();
        self.cluster.config.memory.saturating_sub(in_use)
    }
}

/// [`Core::admit_initial_state`] for an active job.
fn admit_to(active: &Active, id: &JobId, session: SessionId, lengths: ModelState<u64>) -> Admission {
    let (Stage::Drawing(_), Some((description, _))) = (&active.stage, &active.described) else {
        return Admission::Stale(format!("job {id} has its initial weights"));
    };
    // Not only the worker asked last: all workers draw the same weights, and the first upload counts.
    if !active.members.get(&session).is_some_and(|member| member.prepared) {
        return Admission::Stale(format!("session {session} is not prepared for job {id}"));
    }
    let expected = description.layout.lengths().map(|length| length as u64);
    if lengths != expected {
        return Admission::Refused(format!(
            "initial weights: expected {} elements of parameters and {} of running statistics, found {} and {}",
            expected.parameters, expected.statistics, lengths.parameters, lengths.statistics
        ));
    }
    Admission::Granted
}

/// Memory in bytes that a job needs on the coordinator: weights and optimizer state, for the method that needs most,
/// and a partial for each worker, or for an assumed number of workers if the job sets no maximum.
fn flat_buffer_bytes(spec: &JobSpec, description: &JobDescription) -> u64 {
    const COPIES: u32 = 7;
    const WORKERS: u32 = 4;
    let ResourcesSpec { min_workers, max_workers, .. } = spec.resources;
    let partials = max_workers.unwrap_or(WORKERS.max(min_workers)).min(spec.train.shards);
    u64::from(COPIES + partials) * 4 * description.layout.elements() as u64
}

/// Checks that a job can begin at a position, which is not the first one if it goes on where another one stopped.
fn check_start(job: &Job, position: Position) -> Handled {
    let plan = plan(&job.spec, job.require_active()?.description()?).map_err(Halt::Failed)?;
    if position == Position::default() {
        return Ok(());
    }
    let InitialCheckpoint { job: other, outer_step, .. } = job.require_initial_checkpoint()?;
    if plan.position(*outer_step) != position {
        return Err(Halt::Failed(format!(
            "model.init: job {other} was divided into other outer steps; to go on with it, the data, the batch size and the \
             number of batches of an outer step must be the same"
        )));
    }
    if plan.outer_steps <= *outer_step {
        let total = plan.outer_steps;
        return Err(Halt::Failed(format!(
            "train: expected more than the {outer_step} outer steps that job {other} has done, found {total} in all"
        )));
    }
    Ok(())
}
