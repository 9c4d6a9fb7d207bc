//! From a job's first worker to its first outer step: description, compute class, initial weights, checkpoint 0.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{Fence, JobId, SessionId};
use lookbehind_common::job::{JobDescription, JobSpec, ResourcesSpec};
use lookbehind_common::sampling::Plan;
use lookbehind_proto::v1;
use prost::Message as _;

use super::Core;
use super::command::{Command, Source, StartFrom, ToWorker};
use super::event::{Activation, Admission, ComputeClass, Fault, Trainable};
use super::job::{Active, Exclusion, Job, Phase, Stage, Training, check_class};
use super::record::JobState;
use super::step::Step;
use crate::training::{StartError, Trainer};

impl Core {
    /// A worker has loaded a job and computed the probe.
    pub(super) fn prepared(
        &mut self,
        session: SessionId,
        id: &JobId,
        description: Arc<JobDescription>,
        class: ComputeClass,
    ) {
        let name = self.workers.name(session);
        let Some(job) = self.jobs.get_mut(id) else { return };
        let mixes_classes = job.mixes_classes();
        let Some(active) = job.active.as_mut() else { return };
        if !active.members.contains_key(&session) {
            return;
        }
        if let Some((known, by)) = &active.described
            && let Some(difference) = known.difference(&description)
        {
            let reason = format!("it differs from worker {by} in {difference}");
            return self.exclude(session, id, &reason, false);
        }
        let digest = Digest::of(&v1::JobDescription::from(description.as_ref()).encode_to_vec());
        if job.record.description.is_some_and(|known| known != digest) {
            let reason = "its model or data are not those that the job began with";
            return self.exclude(session, id, reason, false);
        }
        if !mixes_classes && let Err(reason) = check_class(job.record.class.as_ref(), &class) {
            return self.exclude(session, id, &reason, true);
        }
        if let Some(member) = active.members.get_mut(&session) {
            member.prepared = true;
        }
        let first = active.described.is_none();
        if first {
            active.described = Some((Arc::clone(&description), name.clone()));
            job.record.description = Some(digest);
        }
        if job.record.class.is_none() {
            tracing::info!(job = %id, worker = name, class = class.description, "job bound to a compute class");
            let message = format!("bound to the compute class of worker {name}: {class}");
            job.record.class = Some(class);
            self.note(id, &message);
        }
        if first {
            self.described(id, session, &description);
        } else {
            self.joined(id, session, &name);
        }
    }

    /// A prepared worker joins a job that is known already.
    fn joined(&mut self, id: &JobId, session: SessionId, name: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        let Some(active) = job.active.as_ref() else { return };
        match &active.stage {
            // The one that was asked before is gone.
            Stage::Describing => self.request_initial_state(id, session),
            Stage::Training(_) => {
                tracing::info!(job = %id, worker = name, "worker takes part");
                self.note(id, &format!("worker {name} takes part"));
                self.assign_rest(id);
            }
            _ => {}
        }
    }

    /// The job's model and data are known: checks them and fetches the weights to start from.
    fn described(&mut self, id: &JobId, session: SessionId, description: &Arc<JobDescription>) {
        let memory = self.config.memory;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let needed = arena_bytes(&job.spec, description);
        job.arena_bytes = Some(needed);
        let plan = match plan(&job.spec, description) {
            Ok(_) if needed > memory => {
                let reason =
                    format!("memory: the job needs {needed} bytes on the coordinator, which has {memory}");
                return self.fail(id, &reason);
            }
            Ok(plan) => plan,
            Err(reason) => return self.fail(id, &reason),
        };
        job.record.total_outer_steps = plan.outer_steps;
        if !self.jobs.get(id).is_some_and(|job| self.has_memory(job)) {
            let message = format!("waits until the coordinator has {needed} bytes of memory for it");
            self.set_state(id, JobState::Queued, &message);
            return self.release(id);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        let source = match (job.record.checkpoint, job.spec.model.init) {
            (Some(_), _) => Some(Source::Checkpoint),
            (None, Some(digest)) => Some(Source::Upload(digest)),
            (None, None) => None,
        };
        let Some(active) = job.active.as_mut() else { return };
        let Some(source) = source else { return self.request_initial_state(id, session) };
        active.stage = Stage::Loading;
        let activation = active.activation;
        let start = StartFrom { spec: job.spec.clone(), description: Arc::clone(description), source };
        self.push(Command::Load(id.clone(), activation, Box::new(start)));
    }

    pub(super) fn request_initial_state(&mut self, id: &JobId, session: SessionId) {
        let now = self.now.elapsed;
        if let Some(active) = self.active_mut(id) {
            active.stage = Stage::Drawing(session);
            active.asked = now;
            self.push(Command::Send(session, ToWorker::SendInitialState(id.clone())));
        }
    }

    /// The worker that was to send the initial weights is gone: asks another, or the next one that is ready.
    pub(super) fn draw_elsewhere(&mut self, id: &JobId) {
        let Some(active) = self.active_mut(id) else { return };
        let ready = active.members.iter().find(|(_, member)| member.prepared).map(|(session, _)| *session);
        match ready {
            Some(session) => self.request_initial_state(id, session),
            None => active.stage = Stage::Describing,
        }
    }

    /// A worker could not load a job.
    pub(super) fn prepare_failed(&mut self, session: SessionId, id: &JobId, fault: Fault, reason: &str) {
        let member = self.active_mut(id).is_some_and(|active| active.members.contains_key(&session));
        if !member {
            return;
        }
        match fault {
            Fault::Job => self.fail(id, reason),
            Fault::Worker => self.exclude(session, id, reason, false),
            // It says goodbye next; the job waits for it, or for another, as for any worker that is gone.
            Fault::Device => {
                let name = self.workers.name(session);
                tracing::warn!(job = %id, worker = name, reason, "worker lost what it computes on");
                self.note(id, &format!("worker {name} failed: {reason}"));
            }
        }
    }

    /// Takes a worker out of a job that it cannot serve; `other_class` says that all it lacks is the job's class.
    pub(super) fn exclude(&mut self, session: SessionId, id: &JobId, reason: &str, other_class: bool) {
        let name = self.workers.name(session);
        tracing::warn!(job = %id, worker = name, reason, "worker refused for the job");
        if let Some(job) = self.jobs.get_mut(id) {
            let exclusion = Exclusion { reason: format!("worker {name}: {reason}"), other_class };
            job.excluded.insert(session, exclusion);
        }
        self.note(id, &format!("worker {name} refused: {reason}"));
        self.free_worker(session, id);
        self.leave_job(session, id);
    }

    /// A job that no registered worker can serve stops with their reasons. If all that some of them lack is its
    /// compute class, as after an upgrade, its owner may accept theirs: it pauses.
    pub(super) fn stop_if_nobody_can(&mut self, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let abandoned = job.active.as_ref().is_some_and(|active| active.members.is_empty());
        let somebody = self.workers.iter().any(|(session, _)| !job.excluded.contains_key(&session));
        if !abandoned || somebody || job.excluded.is_empty() {
            return;
        }
        let reasons: Vec<&str> = job.excluded.values().map(|exclusion| exclusion.reason.as_str()).collect();
        let reasons = reasons.join("; ");
        if job.record.checkpoint.is_none() {
            return self.fail(id, &reasons);
        }
        let (state, what) = if job.excluded.values().any(|exclusion| exclusion.other_class) {
            (
                JobState::Paused,
                "no worker of its compute class is here; resume it once there is one, or accept another",
            )
        } else {
            (JobState::Queued, "waits for a worker that can serve it")
        };
        self.set_state(id, state, &format!("{what} ({reasons})"));
        self.release(id);
    }

    /// A job that has no worker any more says that it waits: for its turn if it has not begun, else for a worker.
    pub(super) fn wait_if_abandoned(&mut self, id: &JobId) {
        let grace = self.config.worker_grace.as_secs();
        let Some(active) = self.jobs.get(id).and_then(|job| job.active.as_ref()) else { return };
        if !active.members.is_empty() || active.closing().is_some() {
            return;
        }
        if matches!(active.stage, Stage::Describing | Stage::Drawing(_)) {
            self.set_state(id, JobState::Queued, "waits for workers again");
            self.release(id);
        } else {
            self.note(id, &format!("no worker is left; it waits {grace} s for one"));
        }
    }

    /// A job that has not begun yet is bound to no class and no data once its workers are gone.
    pub(super) fn unbind_class(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.get_mut(id)
            && job.record.checkpoint.is_none()
        {
            job.record.class = None;
            job.record.description = None;
            job.excluded.retain(|_, exclusion| !exclusion.other_class);
        }
    }

    /// Whether a worker may send initial weights of these sizes.
    pub(super) fn admit_initial_state(&self, fence: &Fence, id: &JobId, sizes: (u64, u64)) -> Admission {
        if !self.is_current(fence) {
            return Admission::Stale(self.stale(fence));
        }
        let active = self.jobs.get(id).and_then(|job| job.active.as_ref());
        let Some(active) = active else { return Admission::Stale(format!("job {id} is not active")) };
        let (Stage::Drawing(_), Some((description, _))) = (&active.stage, &active.described) else {
            return Admission::Stale(format!("job {id} has its initial weights"));
        };
        // More than one may be asked: all workers of the job draw the same.
        if !active.members.get(&fence.session).is_some_and(|member| member.prepared) {
            return Admission::Stale(format!("session {} is not prepared for job {id}", fence.session));
        }
        let expected = (description.layout.parameters() as u64, description.layout.statistics() as u64);
        if sizes != expected {
            return Admission::Refused(format!(
                "initial weights: expected {} parameters and {} statistics, found {} and {}",
                expected.0, expected.1, sizes.0, sizes.1
            ));
        }
        Admission::Granted
    }

    /// Takes initial weights.
    pub(super) fn take_initial_state(&mut self, fence: &Fence, id: &JobId, state: Trainable) -> Admission {
        let sizes = (state.0.len() as u64, state.1.len() as u64);
        let admission = self.admit_initial_state(fence, id, sizes);
        if admission == Admission::Granted
            && let Some(job) = self.jobs.get_mut(id)
            && let Some(active) = job.active.as_mut()
            && let Some((description, _)) = &active.described
        {
            match Trainer::new(&job.spec, description, state.0, state.1) {
                Ok(trainer) => self.store_start(id, Box::new(trainer)),
                Err(error) => self.fail(id, &error.to_string()),
            }
        }
        admission
    }

    /// The weights to start from are read, or not.
    pub(super) fn loaded(
        &mut self,
        id: &JobId,
        activation: Activation,
        result: Result<Box<Trainer>, StartError>,
    ) {
        let Some(job) = self.active_job(id, activation) else { return };
        let has_checkpoint = job.record.checkpoint.is_some();
        match result {
            Err(error) => self.fail(id, &error.to_string()),
            Ok(trainer) if has_checkpoint => self.run(id, trainer),
            Ok(trainer) => self.store_start(id, trainer),
        }
    }

    /// Makes the initial weights durable as checkpoint 0.
    fn store_start(&mut self, id: &JobId, trainer: Box<Trainer>) {
        let Some(command) = self.checkpoint_command(id, &trainer) else { return };
        if let Some(active) = self.active_mut(id) {
            active.stage = Stage::Storing(trainer);
            self.push(command);
        }
    }

    /// Begins to train at the trainer's position.
    pub(super) fn run(&mut self, id: &JobId, trainer: Box<Trainer>) {
        let now = self.now.elapsed;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(active) = job.active.as_mut() else { return };
        let Some((description, _)) = &active.described else { return };
        let plan = match plan(&job.spec, description) {
            Ok(plan) => plan,
            Err(reason) => return self.fail(id, &reason),
        };
        let position = trainer.position();
        active.stage = Stage::Training(Box::new(Training {
            plan,
            step: Step::new(position, now),
            weights_version: 0,
            storing: false,
            phase: Phase::Advancing,
        }));
        tracing::info!(job = %id, outer = position.outer_step, of = plan.outer_steps, "job trains");
        self.set_state(id, JobState::Running, &format!("training from outer step {}", position.outer_step));
        self.begin_outer_step(id, trainer);
    }

    pub(super) fn active_mut(&mut self, id: &JobId) -> Option<&mut Active> {
        self.jobs.get_mut(id)?.active.as_mut()
    }

    /// Whether there is memory for the job beside the active ones, as far as is known.
    pub(super) fn has_memory(&self, job: &Job) -> bool {
        let others = self.jobs.values().filter(|other| other.active.is_some() && other.id() != job.id());
        let in_use: u64 = others.filter_map(|other| other.arena_bytes).sum();
        job.arena_bytes.is_none_or(|needed| needed.saturating_add(in_use) <= self.config.memory)
    }
}

/// Bytes that a job takes on the coordinator: weights and optimizer state of any method, and a partial for each of a
/// few workers.
fn arena_bytes(spec: &JobSpec, description: &JobDescription) -> u64 {
    const COPIES: u32 = 7;
    const WORKERS: u32 = 4;
    let ResourcesSpec { min_workers, max_workers, .. } = spec.resources;
    let partials = max_workers.unwrap_or(WORKERS.max(min_workers)).min(spec.train.shards);
    let numbers = (description.layout.parameters() + description.layout.statistics()) as u64;
    u64::from(COPIES + partials) * 4 * numbers
}

/// Plans a job on its data.
fn plan(spec: &JobSpec, description: &JobDescription) -> Result<Plan, String> {
    let (samples, batch_size) = (description.train_samples, spec.train.batch_size);
    let batches = spec.optimizer.method.batches_per_outer_step();
    Plan::new(samples, batch_size, spec.data.drop_last, batches, spec.train.length).ok_or_else(|| {
        format!(
            "train.batch_size: an epoch of {samples} samples in batches of {batch_size} with drop_last = {} \
             holds no batch, or the run is too long to count",
            spec.data.drop_last
        )
    })
}
