//! What can happen to the coordinator: the inputs of its state machine.

use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{FencingToken, JobId, RequestId, SessionId};
use lookbehind_common::job::JobDescription;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::transfer::Checksum;
use lookbehind_proto::v1;

use crate::state::access::Caller;
pub use crate::state::reply::{Admission, CallError, JobView, PartialOutcome, Refusal, Reply, WorkerView};
use crate::training::{Advance, ComputeClass, StartError, Trainer};

/// Where the answer to a call goes; meaningless to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u64);

/// Counts a job's activations, so that what an earlier one started cannot be taken for a later one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activation(pub u64);

/// One input.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A user calls.
    User {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Who calls.
        caller: Caller,
        /// What they want.
        call: UserCall,
    },
    /// A worker asks to join.
    Register(ReplyTo, Registration),
    /// A registered worker says something on its control stream.
    Worker(FencingToken, WorkerMessage),
    /// A worker is gone, whichever path noticed it.
    WorkerLost(SessionId, LossCause),
    /// A worker wants to send a partial; nothing of it has been read yet.
    PartialOffered(ReplyTo, PartialHeader),
    /// A partial is complete and its checksum is right.
    PartialArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// What it says of itself.
        header: PartialHeader,
        /// The sums.
        partial: Partial,
        /// Checksum of all its bytes.
        checksum: Checksum,
    },
    /// A worker wants to send a job's initial weights; nothing of them has been read yet.
    InitialStateOffered {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Who sends.
        fencing_token: FencingToken,
        /// The job.
        job: JobId,
        /// Numbers in the parameters.
        parameters: u64,
        /// Numbers in the statistics.
        statistics: u64,
    },
    /// They are complete.
    InitialStateArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Who sends.
        fencing_token: FencingToken,
        /// The job.
        job: JobId,
        /// The weights.
        state: Trainable,
    },
    /// A worker asks for weights.
    WeightsAsked {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Who asks.
        fencing_token: FencingToken,
        /// The job.
        job: JobId,
    },
    /// The state that a job starts from is loaded, or could not be.
    Loaded {
        /// The job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// The trainer at the start, or why there is none.
        result: Result<Box<Trainer>, StartError>,
    },
    /// The arithmetic is done.
    Advanced {
        /// The job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// The trainer, and what follows.
        advance: Box<Advance>,
    },
    /// A checkpoint is durable, or could not be written.
    Checkpointed {
        /// The job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// Outer steps done with it.
        outer_step: u64,
        /// Digest of its weights, or why it could not be written.
        result: Result<Digest, String>,
    },
    /// An outer step that is done once more, after a restart, has not come to the weights that were recorded for it.
    ReplayDiffers {
        /// The job.
        job: JobId,
        /// The activation that did it.
        activation: Activation,
        /// How it differs.
        difference: ReplayDifference,
    },
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
pub type Trainable = (lookbehind_common::flat_buffer::FlatBuffer, lookbehind_common::flat_buffer::FlatBuffer);

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
    /// A page of jobs, newest first.
    List {
        /// Most jobs in it.
        count: usize,
        /// It begins behind this creation number; at the newest job where it is absent.
        before: Option<u64>,
    },
    /// End a job.
    Cancel(JobId),
    /// Stop it after its outer step.
    Pause(JobId),
    /// Queue it again.
    Resume {
        /// The job.
        id: JobId,
        /// Whether it may go on in another compute class.
        accept_class: bool,
    },
    /// The workers.
    Workers,
}

/// How a worker introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
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
pub enum WorkerMessage {
    /// It lives; the number rises while its work advances.
    Heartbeat(u64),
    /// A job is loaded and probed.
    Prepared {
        /// The job.
        job: JobId,
        /// Its model and data.
        description: Arc<JobDescription>,
        /// What the probe came to.
        class: ComputeClass,
    },
    /// It is not.
    PrepareFailed {
        /// The job.
        job: JobId,
        /// Whose fault it is.
        fault: Fault,
        /// Why, in words.
        reason: String,
    },
    /// A segment of a request could not be computed.
    RequestFailed {
        /// The work.
        request: RequestId,
        /// The segment.
        segment: Segment,
        /// Why, in words.
        reason: String,
    },
    /// It is about to leave.
    Draining,
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
    pub fencing_token: FencingToken,
    /// The work.
    pub request: RequestId,
    /// The segment.
    pub segment: Segment,
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
