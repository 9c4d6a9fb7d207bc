//! Preparation of a job, from its first worker to its first outer step: description, compute class, initial weights,
//! checkpoint 0.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{JobDescription, JobSpec, ResourcesSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::sampling::Plan;
use lookbehind_proto::v1;
use prost::Message as _;

use super::Core;
use super::active::{Active, Claim, Phase, Stage, Training};
use super::checkpoints::checkpoint_command;
use super::cluster::Cluster;
use super::command::{Command, Source, StartFrom, WorkerCommand};
use super::event::{Activation, Admission, Origin};
use super::halt::{Halt, Handled};
use super::job::{Ground, Job, check_class};
use super::record::JobState;
use super::step::Step;
use crate::training::{ComputeClass, StartError, Trainer};

impl Cluster {
    /// A worker has loaded a job and computed the probe. `memory_left` is the memory in bytes that the other active
    /// jobs leave free.
    pub(super) fn prepared(
        &mut self,
        job: &mut Job,
        session: SessionId,
        description: &Arc<JobDescription>,
        class: ComputeClass,
        memory_left: u64,
    ) -> Handled {
        let active = job.with_member(session)?;
        let answered = |claim: &Claim| claim.session == session;
        if active.members.get(&session).is_some_and(|member| member.prepared)
            || active.claims.iter().any(answered)
        {
            return Err(Halt::Stale("the worker has said before that it is prepared"));
        }
        let claim = Claim { session, description: Arc::clone(description), class, at: self.now.elapsed };
        if job.require_active()?.described.is_some() {
            return self.take_claim(job, claim);
        }
        if let Some((reason, ground)) = refusal(job, &claim) {
            return self.exclude(job, session, &reason, ground);
        }
        job.require_active_mut()?.claims.push(claim);
        self.decide_description(job, memory_left)
    }

    /// Decides which description of model and data counts, if none does yet and it can be told. Workers that gave another
    /// one are excluded.
    pub(super) fn decide_description(&mut self, job: &mut Job, memory_left: u64) -> Handled {
        let active = job.require_active_mut()?;
        if active.described.is_some() {
            return Ok(());
        }
        let decided = active.decided_claim(self.now.elapsed, self.config.failure_detection);
        let Some(leading) = decided else { return Ok(()) };
        let mut claims = std::mem::take(&mut active.claims);
        let chosen = claims.remove(leading);
        let (session, description) = (chosen.session, Arc::clone(&chosen.description));
        let agreeing = |claim: &&Claim| claim.description.difference(&description).is_none();
        let by = match claims.iter().filter(agreeing).count() {
            0 => self.workers.name(session),
            others => format!("{} and {others} more", self.workers.name(session)),
        };
        active.described = Some((Arc::clone(&description), by));
        self.enrol(job, chosen)?;
        self.described(job, session, &description, memory_left)?;
        for claim in claims {
            // The job may have stopped meanwhile, for example for lack of memory.
            if job.active.is_some() {
                self.take_claim(job, claim)?;
            }
        }
        Ok(())
    }

    /// Lets a prepared worker take part in a job that has been described, or excludes it.
    fn take_claim(&mut self, job: &mut Job, claim: Claim) -> Handled {
        let session = claim.session;
        if let Some((reason, ground)) = refusal(job, &claim) {
            return self.exclude(job, session, &reason, ground);
        }
        self.enrol(job, claim)?;
        self.joined(job, session)
    }

    /// Notes that a worker is prepared, and binds the job to its description and class if it is bound to none.
    fn enrol(&mut self, job: &mut Job, claim: Claim) -> Handled {
        job.with_member(claim.session)?.note_prepared(claim.session);
        job.record.description.get_or_insert_with(|| digest(&claim.description));
        let name = self.workers.name(claim.session);
        self.bind_class(job, &name, claim.class);
        Ok(())
    }

    /// Binds a job to the class of its first prepared worker.
    fn bind_class(&mut self, job: &mut Job, name: &str, class: ComputeClass) {
        if job.record.class.is_none() {
            tracing::info!(job = %job.id(), worker = name, class = class.description, "job bound to a compute class");
            let message = format!("bound to the compute class of worker {name}: {class}");
            job.record.class = Some(class);
            self.note(job, &message);
        }
    }

    /// A prepared worker joins a job that another one has described before.
    fn joined(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let name = self.workers.name(session);
        tracing::info!(job = %job.id(), worker = name, "worker takes part");
        self.note(job, &format!("worker {name} takes part"));
        match job.require_active()?.stage {
            // The worker that was asked before has left.
            Stage::Describing => self.request_initial_state(job, session),
            Stage::Training(_) => {
                self.assign_unassigned(job.require_active_mut()?);
                Ok(())
            }
            // It gets shards with the first request.
            Stage::Drawing(_) | Stage::Loading | Stage::Storing(_) => Ok(()),
        }
    }

    /// Model and data of the job are known now: checks plan and memory, then obtains the weights to start from.
    fn described(
        &mut self,
        job: &mut Job,
        session: SessionId,
        description: &Arc<JobDescription>,
        memory_left: u64,
    ) -> Handled {
        let needed = flat_buffer_bytes(&job.spec, description);
        job.flat_buffer_bytes = Some(needed);
        let plan = plan(&job.spec, description)?;
        let memory = self.config.memory;
        // More than there is at all fails the job; more than is free now only makes it wait.
        if needed > memory {
            return Err(Halt::Failed(format!(
                "memory: the job needs {needed} bytes on the coordinator, which has {memory}"
            )));
        }
        job.record.total_outer_steps = plan.outer_steps;
        if needed > memory_left {
            let message = format!("waits until the coordinator has {needed} bytes of memory for it");
            self.set_state(job, JobState::Queued, &message);
            self.release(job);
            return Ok(());
        }
        let source = match (job.record.checkpoint, job.spec.model.init) {
            (Some(_), _) => Source::Checkpoint,
            (None, Some(digest)) => Source::Upload(digest),
            (None, None) => return self.request_initial_state(job, session),
        };
        let start = StartFrom { spec: job.spec.clone(), description: Arc::clone(description), source };
        let active = job.require_active_mut()?;
        active.stage = Stage::Loading;
        let activation = active.activation;
        self.push(Command::Load { job: job.id().clone(), activation, start: Box::new(start) });
        Ok(())
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
        result: Result<Box<Trainer>, StartError>,
    ) -> Handled {
        job.in_activation(activation)?;
        let trainer = result.map_err(|error| Halt::Failed(error.to_string()))?;
        match job.record.checkpoint {
            Some(_) => self.run(job, trainer),
            None => self.store_start(job, trainer),
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
    pub(super) fn run(&mut self, job: &mut Job, trainer: Box<Trainer>) -> Handled {
        let description = Arc::clone(job.require_active()?.description()?);
        let plan = plan(&job.spec, &description)?;
        let position = trainer.position();
        job.require_active_mut()?.stage = Stage::Training(Box::new(Training {
            description,
            plan,
            step: Step::new(position, self.now.elapsed),
            weights_version: 0,
            storing: false,
            phase: Phase::Advancing,
        }));
        tracing::info!(job = %job.id(), outer = position.outer_step, of = plan.outer_steps, "job trains");
        self.set_state(job, JobState::Running, &format!("training from outer step {}", position.outer_step));
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
            self.on_job(id, |cluster, job| cluster.start_at(job, weights));
        }
        admission
    }

    /// Whether the other active jobs leave enough memory for this one. True while its need is unknown.
    pub(super) fn has_memory(&self, job: &Job) -> bool {
        job.flat_buffer_bytes.is_none_or(|needed| needed <= self.memory_left(job.id()))
    }

    /// Memory in bytes that the other active jobs leave free.
    pub(super) fn memory_left(&self, id: &JobId) -> u64 {
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

/// Why the model, data or class of a prepared worker are not those of the job; `None` if they are, or the job has none
/// yet.
fn refusal(job: &Job, claim: &Claim) -> Option<(String, Ground)> {
    let described = job.active.as_ref().and_then(|active| active.described.as_ref());
    let difference = described.and_then(|(known, by)| Some((known.difference(&claim.description)?, by)));
    if let Some((difference, by)) = difference {
        return Some((format!("it differs from worker {by} in {difference}"), Ground::OtherDescription));
    }
    if job.record.description.is_some_and(|known| known != digest(&claim.description)) {
        let reason = "its model or data are not those that the job began with";
        return Some((reason.to_owned(), Ground::OtherDescription));
    }
    if job.mixes_classes() {
        return None;
    }
    let reason = check_class(job.record.class.as_ref(), &claim.class).err()?;
    Some((reason, Ground::OtherClass))
}

fn digest(description: &JobDescription) -> Digest {
    Digest::of(&v1::JobDescription::from(description).encode_to_vec())
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

/// Plans a job on its data.
fn plan(spec: &JobSpec, description: &JobDescription) -> Result<Plan, Halt> {
    let (samples, batch_size) = (description.train_samples, spec.train.batch_size);
    let batches = spec.optimizer.method.batches_per_outer_step();
    Plan::new(samples, batch_size, spec.data.drop_last, batches, spec.train.length).ok_or_else(|| {
        Halt::Failed(format!(
            "train.batch_size: an epoch of {samples} samples in batches of {batch_size} with drop_last = {} \
             holds no batch, or the run is too long to count",
            spec.data.drop_last
        ))
    })
}

#[cfg(test)]
mod tests;
