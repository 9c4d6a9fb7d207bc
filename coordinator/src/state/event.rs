//! Events: the inputs of the state machine.

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

/// Identifies the call that an answer belongs to. Opaque to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u64);

/// Number of an activation of a job. Results of commands carry it, so that a result for an earlier activation is
/// recognised and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activation(pub u64);

/// One input of the state machine.
#[derive(Debug)]
pub enum Event {
    /// Time has passed; checked for deadlines.
    Tick,
    /// A call of a user.
    User {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The user, as far as access to jobs depends on it.
        caller: Caller,
        /// The requested operation.
        call: UserCall,
    },
    /// A worker asks to be registered.
    Register(ReplyTo, Registration),
    /// A message on a worker's control stream.
    Worker(FencingToken, WorkerMessage),
    /// The loss of a worker was detected.
    WorkerLost(SessionId, LossCause),
    /// A worker has sent the header of a partial; its tensors are read only if the answer admits it.
    PartialOffered(ReplyTo, PartialHeader),
    /// A partial was received completely and its checksum is correct.
    PartialArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The header with which it was offered.
        header: PartialHeader,
        /// Gradient, batch statistics and sums.
        partial: Partial,
        /// Checksum of all bytes of the partial: tells equal partials of one segment from different ones.
        checksum: Checksum,
    },
    /// A worker offers a job's initial weights; they are read only if the answer admits them.
    InitialStateOffered {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Token of the sending worker.
        fencing_token: FencingToken,
        /// Identity of the job.
        job: JobId,
        /// Number of elements in the flat buffer of parameters.
        parameters: u64,
        /// Number of elements in the flat buffer of running statistics.
        statistics: u64,
    },
    /// A job's initial weights were received completely.
    InitialStateArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Token of the sending worker.
        fencing_token: FencingToken,
        /// Identity of the job.
        job: JobId,
        /// Initial parameters and running statistics.
        state: Trainable,
    },
    /// A worker asks to download a job's weights.
    WeightsAsked {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Token of the asking worker.
        fencing_token: FencingToken,
        /// Identity of the job.
        job: JobId,
    },
    /// The weights that a job starts from were loaded, or could not be.
    Loaded {
        /// Identity of the job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// The trainer at the start position, or the reason why there is none.
        result: Result<Box<Trainer>, StartError>,
    },
    /// The trainer has finished a computation.
    Advanced {
        /// Identity of the job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// The trainer and the outcome of the computation.
        advance: Box<Advance>,
    },
    /// A checkpoint is durable, or could not be written.
    Checkpointed {
        /// Identity of the job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// Number of outer steps done at the checkpoint.
        outer_step: u64,
        /// Digest of its weights, or the reason why it could not be written.
        result: Result<Digest, String>,
    },
    /// An outer step that was repeated after a restart produced other weights than those recorded for it.
    ReplayDiffers {
        /// Identity of the job.
        job: JobId,
        /// The activation that repeated the step.
        activation: Activation,
        /// Both digests.
        difference: ReplayDifference,
    },
    /// A shutdown was requested.
    Shutdown,
}

/// Difference between a repeated outer step and the record of its first computation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "outer step {outer_step} was done again and came to the weights {found}, but {recorded} were recorded: a machine \
     does not compute alike, or the data have changed"
)]
pub struct ReplayDifference {
    /// Number of outer steps done after it.
    pub outer_step: u64,
    /// Digest of the weights that the journal holds for it.
    pub recorded: String,
    /// Digest of the weights that the repetition produced.
    pub found: String,
}

/// Flat buffers of parameters and of running statistics.
pub type Trainable = (lookbehind_common::flat_buffer::FlatBuffer, lookbehind_common::flat_buffer::FlatBuffer);

/// Operations that users can request.
#[derive(Debug)]
pub enum UserCall {
    /// Create a job.
    Create {
        /// Chosen by the client; a retry with the same value creates no second job.
        request_id: String,
        /// The specification as sent, not yet validated.
        spec: Box<v1::JobSpec>,
        /// Identity for the job if the call is not a retry. It is drawn outside the core, which has no randomness.
        id: JobId,
    },
    /// View one job.
    Get(JobId),
    /// View a page of jobs, newest first.
    List {
        /// Maximum number of jobs in the page.
        count: usize,
        /// The page holds jobs with lower creation numbers than this; absent for the first page.
        before: Option<u64>,
    },
    /// End a job at once.
    Cancel(JobId),
    /// Stop a job after its current outer step.
    Pause(JobId),
    /// Queue a paused job again, or revoke a requested pause.
    Resume {
        /// Identity of the job.
        id: JobId,
        /// Whether it may continue in another compute class.
        accept_class: bool,
    },
    /// View all registered workers.
    Workers,
}

/// What a worker states about itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Version of its wire protocol; must equal the coordinator's.
    pub protocol: u32,
    /// Version of its build; must equal the coordinator's.
    pub version: String,
    /// Name for people; need not be unique.
    pub name: String,
    /// Device that it computes on, for people.
    pub device: String,
}

/// Messages of registered workers.
#[derive(Debug)]
pub enum WorkerMessage {
    /// The worker is alive. The number is its progress count, which rises while its computation advances.
    Heartbeat(u64),
    /// The worker has loaded a job and computed its probe.
    Prepared {
        /// Identity of the job.
        job: JobId,
        /// Model and data as the worker found them.
        description: Arc<JobDescription>,
        /// Compute class of the worker for this job.
        class: ComputeClass,
    },
    /// The worker could not load a job.
    PrepareFailed {
        /// Identity of the job.
        job: JobId,
        /// Whether the job, the worker or its device is at fault.
        fault: Fault,
        /// The reason, for people.
        reason: String,
    },
    /// A segment of a request could not be computed.
    RequestFailed {
        /// The request.
        request: RequestId,
        /// The segment that failed.
        segment: Segment,
        /// The reason, for people.
        reason: String,
    },
    /// The worker is about to leave and takes no more assignments.
    Draining,
}

/// What is at fault when a preparation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The job: every worker would fail in the same way.
    Job,
    /// The worker: another one may succeed.
    Worker,
    /// The worker's device failed, and the worker leaves.
    Device,
}

/// How the loss of a worker was detected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// Its control stream ended or broke.
    StreamClosed,
    /// It was silent for longer than failure detection allows.
    Silent,
    /// Too many commands were waiting for it to read them.
    OutboxFull,
    /// It broke the protocol; with a description.
    Protocol(String),
    /// It is alive, but its computation has not advanced for this long.
    Stuck(Duration),
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LossCause::StreamClosed => f.write_str("its control stream closed"),
            LossCause::Silent => f.write_str("nothing was received from it in time"),
            LossCause::OutboxFull => f.write_str("it did not read its messages"),
            LossCause::Protocol(what) => write!(f, "it broke the protocol: {what}"),
            LossCause::Stuck(time) => write!(f, "its computation has not advanced for {} s", time.as_secs()),
        }
    }
}

/// Header of a partial: enough to decide whether to read the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialHeader {
    /// Token of the sending worker.
    pub fencing_token: FencingToken,
    /// The request that it answers.
    pub request: RequestId,
    /// The segment of the request that it covers.
    pub segment: Segment,
    /// Number of elements in the gradient; 0 for a test request.
    pub gradient: u64,
    /// Number of elements in the batch statistics; 0 for a test request.
    pub statistics: u64,
    /// Number of samples in the segment.
    pub samples: u64,
    /// Time that the worker spent on it.
    pub busy: Busy,
}

/// Time that a worker spent on a partial, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    /// Seconds of computing.
    pub compute: f64,
    /// Seconds of waiting for samples to be read, decoded and augmented.
    pub data: f64,
}

impl Busy {
    /// The sum of both, in seconds.
    pub fn total(self) -> f64 {
        self.compute + self.data
    }

    /// Whether both values are finite and not negative.
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
