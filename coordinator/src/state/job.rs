//! A job in the coordinator's memory: its record, its specification, and what it is doing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{ComputeClasses, JobSpec};
use lookbehind_proto::v1;

use crate::state::active::{Active, Stage, Training};
use crate::state::event::{Activation, ReplayDifference};
use crate::state::halt::{Halt, Handled};
use crate::state::record::JobRecord;
use crate::training::ComputeClass;

const NOT_ACTIVE: Halt = Halt::Broken("a job with members, weights or arithmetic under way is active");

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    /// What is stored of it.
    pub(crate) record: JobRecord,
    /// What was asked for.
    pub(crate) spec: JobSpec,
    /// The same as it goes to workers.
    pub(crate) message: Arc<v1::JobSpec>,
    /// When it came to the state that it is in; `None` before anybody has heard of it.
    pub(crate) since: Option<Duration>,
    /// Workers that cannot serve it, and why.
    pub(crate) excluded: BTreeMap<SessionId, Exclusion>,
    /// What it is doing; `None` while it is queued, paused or over.
    pub(crate) active: Option<Active>,
    /// Bytes that it takes on the coordinator, once its model is known.
    pub(crate) flat_buffer_bytes: Option<u64>,
}

/// Why a worker cannot serve a job.
#[derive(Debug)]
pub(crate) struct Exclusion {
    /// In words.
    pub(crate) reason: String,
    /// Whether all that is wrong is that it is of another compute class.
    pub(crate) other_class: bool,
}

impl Job {
    /// A job that does nothing yet.
    pub(crate) fn new(record: JobRecord, spec: JobSpec, message: Arc<v1::JobSpec>) -> Self {
        Self {
            record,
            spec,
            message,
            since: None,
            excluded: BTreeMap::new(),
            active: None,
            flat_buffer_bytes: None,
        }
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.record.id
    }

    /// Workers that the job may have.
    pub(crate) fn max_workers(&self) -> usize {
        self.spec.resources.max_workers.map_or(usize::MAX, |max| max as usize)
    }

    /// Whether workers of different compute classes may serve it together.
    pub(crate) fn mixes_classes(&self) -> bool {
        self.spec.train.compute_classes == ComputeClasses::Any
    }

    /// The class that a step's metrics name: the one that all its workers are of.
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

    /// The job's activity, where it must have one.
    pub(super) fn require_active(&self) -> Result<&Active, Halt> {
        self.active.as_ref().ok_or(NOT_ACTIVE)
    }

    /// The same, to change it.
    pub(super) fn require_active_mut(&mut self) -> Result<&mut Active, Halt> {
        self.active.as_mut().ok_or(NOT_ACTIVE)
    }

    /// What it trains with, where it must be training.
    pub(super) fn require_training(&mut self) -> Result<&mut Training, Halt> {
        self.require_active_mut()?.require_training()
    }

    /// The job's activity, if it is the one that an event belongs to.
    pub(super) fn in_activation(&mut self, activation: Activation) -> Result<&mut Active, Halt> {
        let active = self.active.as_mut().filter(|active| active.activation == activation);
        active.ok_or(Halt::Stale("the activation is over"))
    }

    /// The job's activity, if the worker that speaks of the job takes part in it.
    pub(super) fn with_member(&mut self, session: SessionId) -> Result<&mut Active, Halt> {
        let active = self.active.as_mut().filter(|active| active.members.contains_key(&session));
        active.ok_or(Halt::Stale("the worker does not serve the job any more"))
    }

    /// A job that has not begun yet is bound to no class and no data once its workers are gone.
    pub(super) fn unbind_class(&mut self) {
        if self.record.checkpoint.is_none() {
            self.record.class = None;
            self.record.description = None;
            self.excluded.retain(|_, exclusion| !exclusion.other_class);
        }
    }

    /// An outer step that was done again has come to other weights than those that were recorded.
    pub(super) fn replay_differs(
        &mut self,
        activation: Activation,
        difference: &ReplayDifference,
    ) -> Handled {
        if self.mixes_classes() {
            // Nobody promised the same bytes.
            return Ok(());
        }
        self.in_activation(activation)?;
        Err(Halt::Failed(difference.to_string()))
    }

    /// Outer steps done, as far as is known without loading anything.
    pub(crate) fn outer_step(&self) -> u64 {
        match self.active.as_ref().map(|active| &active.stage) {
            Some(Stage::Training(training)) => training.step.outer_step,
            // Before its first checkpoint it has done none.
            _ => self.record.checkpoint.unwrap_or(0),
        }
    }
}

/// Checks a worker's class against the job's: the first one binds the job.
///
/// # Errors
/// Names both classes where they differ.
pub(crate) fn check_class(bound: Option<&ComputeClass>, found: &ComputeClass) -> Result<(), String> {
    match bound {
        Some(bound) if bound.probe != found.probe => Err(format!(
            "its arithmetic differs from the job's compute class: the job is bound to {bound}; the worker is {found}"
        )),
        _ => Ok(()),
    }
}
