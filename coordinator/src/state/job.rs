//! A job in the coordinator's memory: its record, its specification and its activation.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{ComputeClasses, JobSpec};

use crate::state::active::{Active, Stage, Training};
use crate::state::event::{Activation, ReplayDifference};
use crate::state::halt::{Halt, Handled};
use crate::state::leaving::FaultClaim;
use crate::state::record::{InitialCheckpoint, JobRecord};
use crate::state::repeats::Repeats;
use crate::state::standing::Standings;
use crate::state::waits::WaitKind;
use crate::training::ComputeClass;

const NOT_ACTIVE: Halt = Halt::Broken("a job with members, weights or arithmetic under way is active");

/// A job that has not ended.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its durable part.
    pub(crate) record: JobRecord,
    /// The validated specification.
    pub(crate) spec: JobSpec,
    /// The specification as it was sent, encoded: it is decoded again when workers are to get it.
    pub(crate) encoded: Arc<[u8]>,
    /// Whether the specification is stored already.
    pub(crate) spec_stored: bool,
    /// When it entered its current state; `None` until its first state was announced.
    pub(crate) since: Option<Duration>,
    /// Sessions of workers that cannot serve it.
    pub(crate) excluded: BTreeMap<SessionId, Exclusion>,
    /// Workers that say that nobody can prepare it, one of each identity.
    pub(crate) faults: Vec<FaultClaim>,
    /// What is held against workers, beyond their sessions.
    pub(crate) standings: Standings,
    /// The kind of what it waited for when that was logged last.
    pub(crate) told_wait: Option<WaitKind>,
    /// Its newest notices that workers can cause.
    pub(crate) repeats: Repeats,
    /// `None` while it is queued, paused or in a terminal state.
    pub(crate) active: Option<Active>,
    /// Memory in bytes that it needs on the coordinator; `None` until its model is known.
    pub(crate) flat_buffer_bytes: Option<u64>,
    /// Bytes on the disk that its checkpoints will take together; `None` until model and data are known.
    pub(crate) checkpoint_bytes: Option<u64>,
}

/// Why a worker cannot serve a job.
#[derive(Debug)]
pub(crate) struct Exclusion {
    /// Name of the worker.
    pub(crate) worker: String,
    /// For people.
    pub(crate) reason: String,
    pub(crate) ground: Ground,
}

/// What excludes a worker from a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// It is of another compute class than the job.
    OtherClass,
    /// Its model or data differ from those of the job.
    OtherDescription,
    /// It could not load or compute something.
    Failure,
}

impl Job {
    /// Why no worker can serve the job, each reason once with all its workers.
    pub(crate) fn reasons_of_exclusions(&self) -> String {
        let mut workers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for Exclusion { worker, reason, .. } in self.excluded.values() {
            workers.entry(reason).or_default().insert(worker);
        }
        let told = workers.into_iter().map(|(reason, workers)| {
            let workers: Vec<String> = workers.into_iter().map(|name| format!("worker {name}")).collect();
            format!("{}: {reason}", workers.join(", "))
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// A job that is not active.
    pub(crate) fn new(record: JobRecord, spec: JobSpec, encoded: Arc<[u8]>, spec_stored: bool) -> Self {
        Self {
            record,
            spec,
            encoded,
            spec_stored,
            since: None,
            excluded: BTreeMap::new(),
            faults: Vec::new(),
            standings: Standings::default(),
            told_wait: None,
            repeats: Repeats::default(),
            active: None,
            flat_buffer_bytes: None,
            checkpoint_bytes: None,
        }
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.record.id
    }

    /// The maximum number of workers of the job.
    pub(crate) fn max_workers(&self) -> usize {
        self.spec.resources.max_workers.map_or(usize::MAX, |max| max as usize)
    }

    /// Whether what it began with is durable: it has initial weights, and workers had prepared it.
    pub(crate) fn has_begun(&self) -> bool {
        self.record.checkpoint.is_some()
    }

    /// Whether workers of different compute classes may serve it together.
    pub(crate) fn mixes_classes(&self) -> bool {
        self.spec.train.compute_classes == ComputeClasses::Any
    }

    /// The class that a step's metrics name: empty if workers of different classes may compute the step.
    pub(crate) fn named_class(&self) -> String {
        match &self.record.class {
            Some(class) if !self.mixes_classes() => class.probe.to_string(),
            _ => String::new(),
        }
    }

    /// Jobs with a lower value get free workers first.
    pub(crate) fn precedence(&self) -> Reverse<i32> {
        Reverse(self.spec.resources.priority)
    }

    /// The job's activation. It is an internal error if it has none.
    pub(super) fn require_active(&self) -> Result<&Active, Halt> {
        self.active.as_ref().ok_or(NOT_ACTIVE)
    }

    /// [`Self::require_active`] for changing it.
    pub(super) fn require_active_mut(&mut self) -> Result<&mut Active, Halt> {
        self.active.as_mut().ok_or(NOT_ACTIVE)
    }

    /// The checkpoint of another job that it starts from. It is an internal error if there is none.
    pub(super) fn require_initial_checkpoint(&self) -> Result<&InitialCheckpoint, Halt> {
        let initial = self.record.initial_checkpoint.as_ref();
        initial.ok_or(Halt::Broken("the checkpoint was chosen that a job starts from"))
    }

    /// The training state. It is an internal error if the job is in another stage.
    pub(super) fn require_training(&mut self) -> Result<&mut Training, Halt> {
        self.require_active_mut()?.require_training()
    }

    /// The job's activation, if the event belongs to it; else the event is stale.
    pub(super) fn in_activation(&mut self, activation: Activation) -> Result<&mut Active, Halt> {
        let active = self.active.as_mut().filter(|active| active.activation == activation);
        active.ok_or(Halt::Stale("the activation is over"))
    }

    /// The job's activation, if the worker is a member; else its message is stale.
    pub(super) fn with_member(&mut self, session: SessionId) -> Result<&mut Active, Halt> {
        let active = self.active.as_mut().filter(|active| active.members.contains_key(&session));
        active.ok_or(Halt::Stale("the worker does not serve the job any more"))
    }

    /// Releases a job without a checkpoint from its class and data, once the workers that it has them from are gone.
    /// Workers that were excluded because they differ from what is given up here may serve it.
    pub(super) fn unbind(&mut self) {
        if self.record.checkpoint.is_none() {
            self.record.class = None;
            self.record.description = None;
            self.excluded.retain(|_, exclusion| exclusion.ground == Ground::Failure);
        }
    }

    /// Fails a job whose repeated outer step produced other weights than those recorded.
    pub(super) fn replay_differs(
        &mut self,
        activation: Activation,
        difference: &ReplayDifference,
    ) -> Handled {
        if self.mixes_classes() {
            // With mixed classes a repetition may differ in its last bits.
            return Ok(());
        }
        self.in_activation(activation)?;
        Err(Halt::Failed(difference.to_string()))
    }

    /// The outer step up to which it does again what was done before it went on from an earlier checkpoint; `None` if
    /// there is nothing to do again.
    pub(crate) fn repeats_until(&self) -> Option<u64> {
        let training = self.active.as_ref()?.training()?;
        (training.step.outer_step < training.recorded).then_some(training.recorded)
    }

    /// Number of outer steps done, as far as is known without loading anything.
    pub(crate) fn outer_step(&self) -> u64 {
        match self.active.as_ref().map(|active| &active.stage) {
            Some(Stage::Training(training)) => training.step.outer_step,
            // No checkpoint means that no outer step is done.
            _ => self.record.checkpoint.unwrap_or(0),
        }
    }
}

/// Checks a worker's class against the class that the job is bound to, if it is bound.
///
/// # Errors
/// If they differ; the message names both.
pub(crate) fn check_class(bound: Option<&ComputeClass>, found: &ComputeClass) -> Result<(), String> {
    match bound {
        Some(bound) if bound.probe != found.probe => Err(format!(
            "its arithmetic differs from the job's compute class: the job is bound to {bound}; the worker is {found}"
        )),
        _ => Ok(()),
    }
}
