//! What a job does while it is active: its members, its stage, and the phase of its training.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::ids::SessionId;
use lookbehind_common::job::JobDescription;
use lookbehind_common::sampling::Plan;

use crate::state::assign::Candidate;
use crate::state::event::Activation;
use crate::state::halt::Halt;
use crate::state::request::Request;
use crate::state::step::Step;
use crate::training::Trainer;

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
    /// Model and data.
    pub(crate) description: Arc<JobDescription>,
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
    Gathering(Box<Trainer>, Box<Request>),
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

    /// Model and data, where they must be known.
    pub(super) fn description(&self) -> Result<&Arc<JobDescription>, Halt> {
        let described = self.described.as_ref().map(|(description, _)| description);
        described.ok_or(Halt::Broken("a job that has or gets weights has been described"))
    }

    /// What the job trains with, where it must be training.
    pub(super) fn require_training(&mut self) -> Result<&mut Training, Halt> {
        self.training_mut().ok_or(Halt::Broken("a job whose outer step goes on is training"))
    }

    /// The work that workers compute, where they must be computing.
    pub(super) fn require_request(&mut self) -> Result<&mut Request, Halt> {
        let request = self.training_mut().and_then(|training| training.request_mut());
        request.ok_or(Halt::Broken("a partial that is admitted belongs to the open request"))
    }

    /// What the job trains with, if it trains.
    pub(super) fn training_mut(&mut self) -> Option<&mut Training> {
        match &mut self.stage {
            Stage::Training(training) => Some(training),
            _ => None,
        }
    }

    /// The same, to look at.
    pub(super) fn training(&self) -> Option<&Training> {
        match &self.stage {
            Stage::Training(training) => Some(training),
            _ => None,
        }
    }

    /// Takes the trainer of a job whose checkpoint 0 was being stored. Until it trains the job counts as loading.
    pub(super) fn take_stored(&mut self) -> Option<Box<Trainer>> {
        match std::mem::replace(&mut self.stage, Stage::Loading) {
            Stage::Storing(trainer) => Some(trainer),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Why the job stops after the checkpoint that is being written, if it does; no worker is needed for that.
    pub(crate) fn closing(&self) -> Option<Closing> {
        match self.training()?.phase {
            Phase::Closing(closing) => Some(closing),
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

    /// Notes that a worker has loaded the job and computed the probe.
    pub(super) fn note_prepared(&mut self, session: SessionId) {
        if let Some(member) = self.members.get_mut(&session) {
            member.prepared = true;
        }
    }

    /// A request is complete: whoever has let others do its part is passed over for a while, longer each time.
    pub(crate) fn note_request(&mut self, request: &Request) {
        const LONGEST: u32 = 6;
        for (session, member) in &mut self.members {
            member.passed_over = member.passed_over.saturating_sub(1);
            if request.has_delivered(*session) {
                member.missed = 0;
            } else if !request.is_idle(*session) {
                member.missed = (member.missed + 1).min(LONGEST);
                member.passed_over = 1 << member.missed;
            }
        }
    }
}

impl Training {
    /// The work that workers compute, if they do.
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.phase {
            Phase::Gathering(_, request) => Some(request),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn request_mut(&mut self) -> Option<&mut Request> {
        match &mut self.phase {
            Phase::Gathering(_, request) => Some(request),
            _ => None,
        }
    }

    /// Takes the work that workers computed, if it is complete, and the trainer that waits for it.
    pub(super) fn take_complete(&mut self) -> Option<(Box<Trainer>, Box<Request>)> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::Gathering(trainer, request) if request.is_complete() => Some((trainer, request)),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Takes the trainer that waits for the disk, if it does.
    pub(super) fn take_awaiting_disk(&mut self) -> Option<Box<Trainer>> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::AwaitingDisk(trainer) => Some(trainer),
            other => {
                self.phase = other;
                None
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
