//! What can happen to the coordinator: the inputs of its state machine.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::contribution::Contribution;
use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{Fence, JobId, SessionId, WorkId};
use lookbehind_common::job::JobDescription;
use lookbehind_common::reduction::Node;
use lookbehind_proto::transfer::Checksum;
use lookbehind_proto::v1;

use crate::state::access::Caller;
use crate::state::record::JobRecord;
use crate::training::{Advance, StartError, Trainer};

/// Where the answer to a call goes; meaningless to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Counts a job's activations, so that what an earlier one started cannot be taken for a later one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activation(pub u64);

/// One input.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A user calls.
    User(Token, Caller, UserCall),
    /// A worker asks to join.
    Register(Token, Hello),
    /// A registered worker says something on its control stream.
    Worker(Fence, WorkerSays),
    /// A worker is gone, whichever path noticed it.
    WorkerLost(SessionId, LossCause),
    /// A worker wants to send a partial; nothing of it has been read yet.
    PartialOffered(Token, PartialHeader),
    /// A partial is complete and its checksum is right.
    PartialArrived(Token, PartialHeader, Contribution, Checksum),
    /// A worker wants to send a job's initial weights: numbers of parameters and of statistics.
    InitialStateOffered(Token, Fence, JobId, u64, u64),
    /// They are complete.
    InitialStateArrived(Token, Fence, JobId, Trainable),
    /// A worker asks for weights.
    WeightsAsked(Token, Fence, JobId),
    /// The state that a job starts from is loaded, or could not be.
    Loaded(JobId, Activation, Result<Box<Trainer>, StartError>),
    /// The arithmetic is done.
    Advanced(JobId, Activation, Box<Advance>),
    /// A checkpoint of so many outer steps is durable, or could not be written.
    Checkpointed(JobId, Activation, u64, Result<Digest, String>),
    /// An outer step that is done once more, after a restart, has not come to the weights that were recorded for it.
    ReplayDiffers(JobId, Activation, ReplayDifference),
    /// The process is asked to end.
    Shutdown,
}

/// How a repeated outer step differs from what was recorded when it was done first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "outer step {outer_step} was done again and came to the weights {found}, but {recorded} were recorded: a machine \
     does not compute alike, or the data have changed"
)]
pub struct ReplayDifference {
    /// Outer steps done with it.
    pub outer_step: u64,
    /// Digest of the weights that were recorded.
    pub recorded: String,
    /// Digest of the weights that it came to now.
    pub found: String,
}

/// Parameters and statistics.
pub type Trainable = (lookbehind_common::arena::Arena, lookbehind_common::arena::Arena);

/// What users ask for.
#[derive(Debug)]
pub enum UserCall {
    /// A new job, with the identity that it is to have.
    Create {
        /// Makes a retry recognisable.
        request_id: String,
        /// The job as sent.
        spec: Box<v1::JobSpec>,
        /// Its identity, if it is new.
        id: JobId,
    },
    /// One job.
    Get(JobId),
    /// A page of jobs: how many, and behind which creation number.
    List(usize, Option<u64>),
    /// End a job.
    Cancel(JobId),
    /// Stop it after its outer step.
    Pause(JobId),
    /// Queue it again, and say whether it may go on in another compute class.
    Resume(JobId, bool),
    /// The workers.
    Workers,
}

/// How a worker introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of the wire protocol.
    pub protocol: u32,
    /// Version of its build.
    pub version: String,
    /// Name for people.
    pub name: String,
    /// What it computes on.
    pub device: String,
}

/// What a registered worker can say.
#[derive(Debug)]
pub enum WorkerSays {
    /// It lives; the number rises while its work advances.
    Heartbeat(u64),
    /// A job is loaded and probed.
    Prepared(JobId, Arc<JobDescription>, ComputeClass),
    /// It is not.
    PrepareFailed(JobId, Fault, String),
    /// A node of a piece of work could not be computed.
    WorkFailed(WorkId, Node, String),
    /// It is about to leave.
    Draining,
}

/// What a worker's arithmetic was observed to be (design, section 4).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ComputeClass {
    /// Digest of the probe's contribution.
    pub probe: Digest,
    /// Processor, libraries and build in words.
    pub description: String,
}

impl std::fmt::Display for ComputeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}], probe {}", self.description, self.probe)
    }
}

/// Whose fault a failed preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every worker would fail alike.
    Job,
    /// Another worker may do.
    Worker,
    /// What the worker computes on failed, and the worker leaves.
    Device,
}

/// Which path noticed that a worker is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// Its control stream ended or broke.
    StreamClosed,
    /// It was silent for longer than failure detection allows.
    Silent,
    /// It did not take its messages.
    OutboxFull,
    /// It broke the protocol, in words.
    Protocol(String),
    /// It lives, but its work has not advanced for so long.
    Stuck(Duration),
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LossCause::StreamClosed => f.write_str("its control stream closed"),
            LossCause::Silent => f.write_str("it gave no sign of life"),
            LossCause::OutboxFull => f.write_str("it did not take its messages"),
            LossCause::Protocol(what) => write!(f, "it broke the protocol: {what}"),
            LossCause::Stuck(time) => write!(f, "its work has not advanced for {} s", time.as_secs()),
        }
    }
}

/// What a partial says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialHeader {
    /// Who sends.
    pub fence: Fence,
    /// The work.
    pub work: WorkId,
    /// The node.
    pub node: Node,
    /// Numbers in the gradient.
    pub gradient: u64,
    /// Numbers in the statistics.
    pub statistics: u64,
    /// Samples that went in.
    pub samples: u64,
    /// What it took the worker.
    pub busy: Busy,
}

/// Seconds that a worker was busy with something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    /// Computing.
    pub compute: f64,
    /// Waiting for samples to be read, decoded and augmented.
    pub data: f64,
}

impl Busy {
    /// Both together.
    pub fn total(self) -> f64 {
        self.compute + self.data
    }

    /// Whether both are times.
    pub fn is_sound(self) -> bool {
        [self.compute, self.data].iter().all(|seconds| *seconds >= 0.0 && seconds.is_finite())
    }
}

impl std::ops::AddAssign for Busy {
    fn add_assign(&mut self, other: Self) {
        self.compute += other.compute;
        self.data += other.data;
    }
}

/// Answers to calls.
#[derive(Debug)]
pub enum Reply {
    /// A job.
    Job(Box<Result<JobView, CallError>>),
    /// A page of jobs and the creation number of the last, if more follow.
    Jobs(Vec<JobView>, Option<u64>),
    /// The workers.
    Workers(Vec<WorkerView>),
    /// A registration.
    Registered(Result<Fence, Refusal>),
    /// Whether an upload may begin.
    Admission(Admission),
    /// What became of a partial.
    Partial(PartialOutcome),
}

/// Why a worker is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Whether trying again later can help.
    pub retryable: bool,
}

/// Whether a transfer may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// What it belongs to is over: nothing is wrong, nothing is wanted.
    Stale(String),
    /// It contradicts what the coordinator knows.
    Refused(String),
}

/// What became of a partial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartialOutcome {
    /// It fills its node.
    Accepted,
    /// The node was filled already, with the same bytes.
    Duplicate,
    /// It came too late or from a worker that is no longer in the cluster.
    Stale(String),
    /// It contradicts what the coordinator knows of the work.
    Refused(String),
    /// It contradicts an earlier one; the job has failed.
    Conflict(String),
}

/// A job as users see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// What is stored of it.
    pub record: JobRecord,
    /// Outer steps done.
    pub outer_step: u64,
    /// Workers that it has.
    pub workers: u32,
}

/// A worker as users see it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its registration.
    pub session: SessionId,
    /// How it introduced itself.
    pub hello: Hello,
    /// The job that it serves.
    pub job: Option<JobId>,
    /// Seconds since its last sign of life.
    pub silent_seconds: f64,
    /// Shards computed for that job.
    pub shards_done: u64,
    /// Seconds from being asked for a shard of that job to having delivered it, smoothed, once measured.
    pub seconds_per_shard: Option<f64>,
    /// Whether it takes no more work.
    pub draining: bool,
}

/// Why a user's call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such job.
    #[error("job {0}: not found")]
    NotFound(JobId),
    /// The job is somebody else's.
    #[error("job {0}: belongs to another user")]
    NotTheirs(JobId),
    /// The job's specification is wrong.
    #[error("{0}")]
    Invalid(#[from] lookbehind_common::job::JobError),
    /// The same request_id came with another job.
    #[error("request_id {0:?}: was used for a job with another specification")]
    RequestReused(String),
    /// The call does not fit the job's state.
    #[error("job {job}: cannot {verb} a job that is {state}")]
    WrongState {
        /// The job.
        job: JobId,
        /// What was asked for.
        verb: &'static str,
        /// The state that it is in.
        state: &'static str,
    },
    /// A limit is reached.
    #[error("{what}: the limit of {limit} is reached")]
    Exhausted {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// What the answer would say cannot be made durable now.
    #[error("the coordinator's state cannot be stored: {0}; try again later")]
    NotStored(String),
    /// The coordinator is ending.
    #[error("the coordinator is shutting down")]
    Stopping,
}
