//! An active job: its members, its stage, and the phase of its training.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::job::JobDescription;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::sampling::Plan;
use lookbehind_common::selection::Selection;
use lookbehind_proto::v1;

use crate::state::assign::Division;
use crate::state::assign::routes::Routes;
use crate::state::describing::Claim;
use crate::state::event::Activation;
use crate::state::halt::Halt;
pub(crate) use crate::state::member::Member;
use crate::state::pace::Pace;
use crate::state::request::Request;
use crate::state::step::Step;
use crate::training::Trainer;

/// State of a job from its assignment to workers until it is released.
#[derive(Debug)]
pub(crate) struct Active {
    /// Events of other activations of the job are stale.
    pub(crate) activation: Activation,
    /// The job's specification as it is sent to workers.
    pub(crate) message: Arc<v1::JobSpec>,
    pub(crate) members: BTreeMap<SessionId, Member>,
    /// When it lost its last worker; `None` while it has any.
    pub(crate) without_workers_since: Option<Duration>,
    /// What prepared workers say of model and data, in the order of arrival, until it is decided on.
    pub(crate) claims: Vec<Claim>,
    /// Model and data, once they are decided on, and the names of the workers that described them so.
    pub(crate) described: Option<(Arc<JobDescription>, String)>,
    /// When a worker was last asked for the initial weights.
    pub(crate) requested_initial_state_at: Duration,
    /// Number of workers given up because they made no progress: each one doubles the patience with the next.
    pub(crate) stuck: u32,
    /// Whether an outer step was begun.
    pub(crate) has_computed: bool,
    /// Whether it stops after the current outer step, to make way for a job of a higher priority.
    pub(crate) preempted: bool,
    /// Whether it was noted that some shards could not be verified.
    pub(crate) unverified_noted: bool,
    pub(crate) stage: Stage,
}

/// The stages of an active job, in their order.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Waiting for the first worker to describe model and data.
    Describing,
    /// Waiting for this worker to upload the initial weights that it draws.
    Drawing(SessionId),
    /// Waiting for the file thread to read a checkpoint or an uploaded file.
    Loading,
    /// Waiting until checkpoint 0 is durable.
    Storing(Box<Trainer>),
    /// Outer steps are being computed.
    Training(Box<Training>),
}

/// State of a job in the stage of training.
#[derive(Debug)]
pub(crate) struct Training {
    pub(crate) description: Arc<JobDescription>,
    /// Which batches each outer step takes, and how many outer steps there are.
    pub(crate) plan: Plan,
    /// Lengths of the partials of gradients, in elements.
    pub(crate) partials: ModelState<usize>,
    /// Measurements of the current outer step.
    pub(crate) step: Step,
    /// The newest published version of the weights; 0 before the first.
    pub(crate) weights_version: u64,
    /// Digests of the blocks of that version; empty if they are not known.
    pub(crate) weights_digests: Arc<[BlockDigest]>,
    /// Smoothed time in seconds from the last announcement of a partial to the end of the exchange.
    pub(crate) exchange_seconds: Option<f64>,
    /// Which way tensors travel.
    pub(crate) routes: Routes,
    /// The newest division of all shards of a request.
    pub(crate) division: Division,
    /// Its periodic checkpoints.
    pub(crate) pace: Pace,
    /// Outer steps that were recorded before this activation: those up to here are done again.
    pub(crate) recorded: u64,
    /// What is known of its evaluations.
    pub(crate) selection: Selection,
    pub(crate) phase: Phase,
}

/// What a training job waits for.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The trainer is out for a computation: see `Command::Advance`.
    Advancing,
    /// Workers compute the partials of the open request.
    Gathering(Box<Trainer>, Box<Request>),
    /// A checkpoint is due while the previous one is still being written.
    AwaitingDisk(Box<Trainer>),
    /// The state cannot be stored. With it, whether a checkpoint is due.
    AwaitingStorage(Box<Trainer>, bool),
    /// A worker of a second identity is missing since then (`resources.verify`).
    AwaitingSecond(Box<Trainer>, Duration),
    /// The checkpoint after which the job stops is being written.
    Closing(Closing),
}

/// Why a job stops after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// All its outer steps are done.
    Done,
    /// A pause was requested.
    Pause,
    /// A job of a higher priority needs its workers; it is queued.
    Preempted,
    /// Nobody is there who could verify what its workers compute; it is queued until somebody is.
    Unverified,
    /// The coordinator shuts down; the job resumes after its next start.
    Shutdown,
}

impl Active {
    pub(crate) fn new(activation: Activation, message: Arc<v1::JobSpec>) -> Self {
        Self {
            activation,
            message,
            members: BTreeMap::new(),
            without_workers_since: None,
            claims: Vec::new(),
            described: None,
            requested_initial_state_at: Duration::ZERO,
            stuck: 0,
            has_computed: false,
            preempted: false,
            unverified_noted: false,
            stage: Stage::Describing,
        }
    }

    /// The description of model and data. It is an internal error if none is known.
    pub(super) fn description(&self) -> Result<&Arc<JobDescription>, Halt> {
        let described = self.described.as_ref().map(|(description, _)| description);
        described.ok_or(Halt::Broken("a job that has or gets weights has been described"))
    }

    /// The training state. It is an internal error if the job is in another stage.
    pub(super) fn require_training(&mut self) -> Result<&mut Training, Halt> {
        self.training_mut().ok_or(Halt::Broken("a job whose outer step goes on is training"))
    }

    /// The open request. It is an internal error if there is none.
    pub(super) fn require_request(&mut self) -> Result<&mut Request, Halt> {
        self.open_request().ok_or(Halt::Broken("a partial that is admitted belongs to the open request"))
    }

    /// The open request, if there is one.
    pub(super) fn open_request(&mut self) -> Option<&mut Request> {
        self.training_mut()?.request_mut()
    }

    /// The open request, if it is this one; else what refers to it is stale.
    pub(super) fn request_of(&mut self, id: &RequestId) -> Result<&mut Request, Halt> {
        let request = self.open_request().filter(|request| request.id == *id);
        request.ok_or(Halt::Stale("the request is over"))
    }

    /// The training state, if the job is in that stage.
    pub(super) fn training_mut(&mut self) -> Option<&mut Training> {
        match &mut self.stage {
            Stage::Training(training) => Some(training),
            _ => None,
        }
    }

    /// [`Self::training_mut`] for reading.
    pub(super) fn training(&self) -> Option<&Training> {
        match &self.stage {
            Stage::Training(training) => Some(training),
            _ => None,
        }
    }

    /// Takes the trainer of a job that waits for checkpoint 0, if it does. The stage is then `Loading` until training
    /// begins.
    pub(super) fn take_stored(&mut self) -> Option<Box<Trainer>> {
        match std::mem::replace(&mut self.stage, Stage::Loading) {
            Stage::Storing(trainer) => Some(trainer),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Why the job stops after the checkpoint being written, if it does. Such a job needs no workers any more.
    pub(crate) fn closing(&self) -> Option<Closing> {
        match self.training()?.phase {
            Phase::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    /// Whether it waits until the state can be stored.
    pub(super) fn awaits_storage(&self) -> bool {
        self.training().is_some_and(|training| matches!(training.phase, Phase::AwaitingStorage(..)))
    }

    /// Notes that a worker has loaded the job and computed the probe.
    pub(super) fn note_prepared(&mut self, session: SessionId) {
        if let Some(member) = self.members.get_mut(&session) {
            member.prepared = true;
        }
    }

    /// Notes how long moving the tensors of a complete gradient request took, and decides which way they travel.
    pub(super) fn measure_links(&mut self, request: &Request, now: Duration) {
        let (route, Some(seconds)) = (request.route(), request.copy_seconds(now)) else { return };
        let Some(training) = self.training_mut() else { return };
        training.routes.note(route, seconds);
        let basis = self.basis(now);
        let Some(training) = self.training_mut() else { return };
        training.routes.settle(|route| basis.seconds(request.shards(), route));
    }

    /// A request is complete: a worker whose part others had to compute is passed over for a multiple of the time that
    /// the request took. The multiple doubles each time in a row, so that a worker that never delivers costs the job
    /// an eighth of its time at first, and soon nothing that can be noticed.
    pub(crate) fn note_request(&mut self, request: &Request, now: Duration) {
        let took = now.saturating_sub(request.begun());
        let factors: BTreeMap<SessionId, f64> = request.range_factors().into_iter().collect();
        for (session, member) in &mut self.members {
            if request.has_delivered(*session) {
                member.missed = 0;
            } else if !request.is_idle(*session) {
                member.miss(took, now);
            } else if member.prepared && request.is_of_gradient() {
                member.measured.note_without_shards();
            }
            if request.exchange.is_some() {
                member.measured.note_range(factors.get(session).copied());
            }
        }
    }
}

impl Training {
    /// The open request, if there is one.
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.phase {
            Phase::Gathering(_, request) => Some(request),
            _ => None,
        }
    }

    /// [`Self::request`] for changing it.
    pub(super) fn request_mut(&mut self) -> Option<&mut Request> {
        match &mut self.phase {
            Phase::Gathering(_, request) => Some(request),
            _ => None,
        }
    }

    /// Takes the open request and the trainer, if the request is complete.
    pub(super) fn take_complete(&mut self) -> Option<(Box<Trainer>, Box<Request>)> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::Gathering(trainer, request) if request.is_complete() => Some((trainer, request)),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Takes the open request and the trainer, whatever is still missing.
    pub(super) fn take_request(&mut self) -> Option<(Box<Trainer>, Box<Request>)> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::Gathering(trainer, request) => Some((trainer, request)),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Notes how long an exchange took from the last announcement on.
    pub(super) fn measure_exchange(&mut self, seconds: f64) {
        smooth(&mut self.exchange_seconds, seconds);
    }

    /// Takes the trainer if the job waits for a worker of a second identity.
    pub(super) fn take_awaiting_second(&mut self) -> Option<Box<Trainer>> {
        match std::mem::replace(&mut self.phase, Phase::Advancing) {
            Phase::AwaitingSecond(trainer, _) => Some(trainer),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Takes the trainer if the job waits for the previous checkpoint.
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

/// Takes a measurement into an exponential average.
pub(super) fn smooth(average: &mut Option<f64>, sample: f64) {
    // Weight of the newest measurement.
    const WEIGHT: f64 = 0.2;
    *average = Some(average.map_or(sample, |old| old + WEIGHT * (sample - old)));
}
