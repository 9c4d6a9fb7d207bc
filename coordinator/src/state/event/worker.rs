//! What workers say, and how they are lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lookbehind_common::blocks::slice::Proof;
use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::ids::{FencingToken, JobId, RequestId, SessionId};
use lookbehind_common::job::JobDescription;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::Segment;

use crate::training::ComputeClass;

/// Where a message of a worker comes from. It is current only if token and identity are those of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The token in the message.
    pub fencing_token: FencingToken,
    /// Name in the credentials of the call that carries the message; `None` without credentials.
    pub identity: Option<Arc<str>>,
}

impl Origin {
    /// The session that the message claims to belong to.
    pub fn session(&self) -> SessionId {
        self.fencing_token.session
    }
}

/// What is known of a worker when it registers: what it states about itself, but for its place.
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
    /// Where it takes connections from other workers, if it does.
    pub endpoint: Option<PeerEndpoint>,
    /// Whether it is on the coordinator's host, so that what goes between the two crosses no link.
    pub beside_coordinator: bool,
}

/// Where a worker takes connections from other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEndpoint {
    /// Host and port.
    pub address: String,
    /// BLAKE3 hash of its certificate; `None` in plain text.
    pub fingerprint: Option<[u8; 32]>,
    /// Name of its socket for processes of its machine, if it has one.
    pub socket: Option<[u8; 16]>,
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
    /// The partial of a segment is computed, and other workers can fetch it.
    Computed(Computed),
    /// The owner of a range has added all partials.
    Reduced {
        /// The request.
        request: RequestId,
        /// The range.
        blocks: BlockRange,
        /// What was added.
        addends: Vec<Addend>,
    },
    /// Answer to an audit.
    Audited {
        /// The request.
        request: RequestId,
        /// The answer.
        audited: Audited,
    },
    /// Another worker of the request cannot be reached.
    Unreachable {
        /// The request.
        request: RequestId,
        /// The other worker.
        other: SessionId,
        /// The reason, for people.
        reason: String,
    },
    /// Tensors could not be transferred.
    TransferFailed {
        /// Identity of the job.
        job: JobId,
        /// The request and those of its segments that the worker does not deliver; `None` for initial weights.
        request: Option<(RequestId, Vec<Segment>)>,
        /// The reason, for people.
        reason: String,
    },
    /// The worker is about to leave and takes no more assignments.
    Draining,
}

/// The announcement of a computed partial.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The request.
    pub request: RequestId,
    /// The segment.
    pub segment: Segment,
    /// Loss and counts.
    pub sums: Sums,
    /// Time that the worker spent on it.
    pub busy: Busy,
    /// Digests of all blocks of the partial.
    pub digests: Vec<BlockDigest>,
}

/// Blocks of a partial that the owner of a range has added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addend {
    /// The segment of the partial.
    pub segment: Segment,
    /// The blocks.
    pub blocks: BlockRange,
    /// Digest of the digests of these blocks.
    pub digest: BlockDigest,
}

/// A slice of a partial, as the coordinator has asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The segment of the partial.
    pub segment: Segment,
    /// The values of the slice, f32, little endian.
    pub values: Bytes,
    /// The proof that they belong to the block that was announced; see [`lookbehind_common::blocks::slice`].
    pub proof: Proof,
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
    /// It is alive, but has delivered nothing for at least this long.
    Stuck(Duration),
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LossCause::StreamClosed => f.write_str("its control stream closed"),
            LossCause::Silent => f.write_str("nothing was received from it in time"),
            LossCause::OutboxFull => f.write_str("it did not read its messages"),
            LossCause::Protocol(what) => write!(f, "it broke the protocol: {what}"),
            LossCause::Stuck(time) => write!(f, "it has delivered nothing for {} s", time.as_secs()),
        }
    }
}

/// What uploaded blocks belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct BlocksHeader {
    /// The sending worker.
    pub origin: Origin,
    /// The request.
    pub request: RequestId,
    /// The segment: all shards for the sum of a range that the worker owns.
    pub segment: Segment,
    /// The blocks.
    pub blocks: BlockRange,
}

/// Header of a partial: enough to decide whether to read the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialHeader {
    /// The sending worker.
    pub origin: Origin,
    /// The request that it answers.
    pub request: RequestId,
    /// The segment of the request that it covers.
    pub segment: Segment,
    /// Number of elements in the gradient; 0 for a test request.
    pub gradient: u64,
    /// Number of elements in the batch statistics; 0 for a test request.
    pub statistics: u64,
    /// Format in which the elements of the gradient are sent.
    pub format: ExchangeFormat,
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
