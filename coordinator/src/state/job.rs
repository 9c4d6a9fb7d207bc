//! A job in the coordinator's memory: its record, its specification, and what it is doing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::job::{ComputeClasses, JobDescription, JobSpec};
use lookbehind_common::sampling::Plan;
use lookbehind_proto::v1;

use crate::state::assign::Candidate;
use crate::state::event::{Activation, ComputeClass};
use crate::state::record::JobRecord;
use crate::state::step::Step;
use crate::state::work::Work;
use crate::training::Trainer;

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
    pub(crate) arena_bytes: Option<u64>,
}

/// Why a worker cannot serve a job.
#[derive(Debug)]
pub(crate) struct Exclusion {
    /// In words.
    pub(crate) reason: String,
    /// Whether all that is wrong is that it is of another compute class.
    pub(crate) other_class: bool,
}

/// A job that has workers.
#[derive(Debug)]
pub(crate) struct Active {
    /// Which activation of the job it is.
    pub(crate) activation: Activation,
    /// Its workers.
    pub(crate) members: BTreeMap<SessionId, Member>,
    /// Since when it has had no worker.
    pub(crate) alone_since: Option<Duration>,
    /// What the first prepared worker found, and that worker's name.
    pub(crate) described: Option<(Arc<JobDescription>, String)>,
    /// When a worker was last asked for the initial weights.
    pub(crate) asked: Duration,
    /// Workers that were given up because their work did not advance: each makes the job more patient.
    pub(crate) stuck: u32,
    /// What it is doing.
    pub(crate) stage: Stage,
}

/// A worker of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Since when it has been asked to load the job.
    pub(crate) since: Duration,
    /// Whether it has loaded and been probed.
    pub(crate) prepared: bool,
    /// Seconds from being asked for a shard to having delivered it, smoothed: what a worker's distance costs counts
    /// as much as what its computing does.
    pub(crate) seconds_per_shard: Option<f64>,
    /// Shards that it has computed.
    pub(crate) shards_done: u64,
    /// Pieces of work in a row of which it was given a part and others had to do it.
    pub(crate) missed: u32,
    /// Pieces of work for which it is not asked, because of that.
    pub(crate) passed_over: u32,
}

/// What an active job is doing.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Waiting for the first worker to describe model and data.
    Describing,
    /// Waiting for a worker to send the weights that it drew.
    Drawing(SessionId),
    /// Waiting for weights to be read.
    Loading,
    /// Waiting for checkpoint 0 to be durable.
    Storing(Box<Trainer>),
    /// Training.
    Training(Box<Training>),
}

/// A job that trains.
#[derive(Debug)]
pub(crate) struct Training {
    /// Samples, batches, outer steps.
    pub(crate) plan: Plan,
    /// What the current outer step has measured so far.
    pub(crate) step: Step,
    /// The newest version of the weights.
    pub(crate) weights_version: u64,
    /// Whether a periodic checkpoint waits for the disk. There is one at a time, each holds a copy of the weights.
    pub(crate) storing: bool,
    /// What is going on.
    pub(crate) phase: Phase,
}

/// What goes on in a job that trains.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The arithmetic has the trainer.
    Advancing,
    /// Workers compute.
    Gathering(Box<Trainer>, Box<Work>),
    /// A checkpoint is due and the disk has the one before still in hand.
    AwaitingDisk(Box<Trainer>),
    /// The checkpoint after which the job stops is being written.
    Closing(Closing),
}

/// Why a job stops after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It is done.
    Done,
    /// Its user wants it paused.
    Pause,
    /// The coordinator ends; the job goes on after its next start.
    Shutdown,
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
            arena_bytes: None,
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

    /// Outer steps done, as far as is known without loading anything.
    pub(crate) fn outer_step(&self) -> u64 {
        match self.active.as_ref().map(|active| &active.stage) {
            Some(Stage::Training(training)) => training.step.outer_step,
            _ => self.record.checkpoint.unwrap_or(0),
        }
    }
}

impl Active {
    pub(crate) fn new(activation: Activation) -> Self {
        Self {
            activation,
            members: BTreeMap::new(),
            alone_since: None,
            described: None,
            asked: Duration::ZERO,
            stuck: 0,
            stage: Stage::Describing,
        }
    }

    /// Why the job stops after the checkpoint that is being written, if it does; no worker is needed for that.
    pub(crate) fn closing(&self) -> Option<Closing> {
        match &self.stage {
            Stage::Training(training) => match training.phase {
                Phase::Closing(closing) => Some(closing),
                _ => None,
            },
            _ => None,
        }
    }

    /// Workers that can be given work: the prepared ones, without those that did nothing of late where there are
    /// others.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let prepared = || self.members.iter().filter(|(_, member)| member.prepared);
        let all_passed_over = prepared().all(|(_, member)| member.passed_over > 0);
        prepared()
            .filter(|(_, member)| member.passed_over == 0 || all_passed_over)
            .map(|(session, member)| Candidate {
                session: *session,
                seconds_per_shard: member.seconds_per_shard,
            })
            .collect()
    }

    /// A piece of work is complete: whoever has let others do its part is passed over for a while, longer each time.
    pub(crate) fn note_work(&mut self, work: &Work) {
        const LONGEST: u32 = 6;
        for (session, member) in &mut self.members {
            member.passed_over = member.passed_over.saturating_sub(1);
            if work.has_delivered(*session) {
                member.missed = 0;
            } else if !work.is_idle(*session) {
                member.missed = (member.missed + 1).min(LONGEST);
                member.passed_over = 1 << member.missed;
            }
        }
    }
}

impl Member {
    /// Notes that `shards` shards took `seconds`.
    pub(crate) fn measure(&mut self, shards: u32, seconds: f64) {
        const WEIGHT: f64 = 0.2;
        let sample = seconds / f64::from(shards.max(1));
        let smoothed = self.seconds_per_shard.map_or(sample, |old| old + WEIGHT * (sample - old));
        self.seconds_per_shard = Some(smoothed);
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
