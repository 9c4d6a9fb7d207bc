//! Events: the inputs of the state machine.

mod worker;

use std::sync::Arc;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::{JobId, SessionId, SessionSecret};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_proto::transfer::Checksum;

pub use self::worker::{
    Addend, Audited, BlocksHeader, Busy, Computed, Fault, LossCause, Origin, PartialHeader, PeerEndpoint,
    Registration, WorkerMessage,
};
use crate::state::access::Caller;
use crate::state::listing::JobQuery;
use crate::state::record::InitialCheckpoint;
pub use crate::state::reply::{
    Admission, CallError, JobView, PartialOutcome, Refusal, Reply, SpecView, WorkerView,
};
use crate::state::storage::StorageFailure;
use crate::state::submission::Submission;
use crate::training::{Advance, Start, StartError};

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
    Register {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// What the worker states about itself.
        registration: Registration,
        /// Name in the credentials with which the stream was opened; `None` without credentials.
        identity: Option<Arc<str>>,
        /// Secret for the session. It is drawn outside the core, which has no randomness.
        secret: SessionSecret,
    },
    /// A message on a worker's control stream.
    Worker(Origin, WorkerMessage),
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
        /// Whether all its numbers are finite. It is determined outside the core, where the partial is received.
        is_finite: bool,
    },
    /// A worker has sent the header of blocks; they are read only if the answer admits them.
    BlocksOffered(ReplyTo, BlocksHeader),
    /// Blocks were received completely and their checksum is correct.
    BlocksArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The header with which they were offered.
        header: BlocksHeader,
        /// Their elements in gradient and batch statistics.
        part: ModelState<FlatBuffer>,
        /// Their digests.
        digests: Vec<BlockDigest>,
        /// Whether all their values are finite. It is determined outside the core, where they are received.
        is_finite: bool,
    },
    /// A worker offers a job's initial weights; they are read only if the answer admits them.
    InitialStateOffered {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The sending worker.
        origin: Origin,
        /// Identity of the job.
        job: JobId,
        /// Number of elements in the flat buffers.
        lengths: ModelState<u64>,
    },
    /// A job's initial weights were received completely.
    InitialStateArrived {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The sending worker.
        origin: Origin,
        /// Identity of the job.
        job: JobId,
        /// Initial parameters and running statistics.
        weights: ModelState<FlatBuffer>,
    },
    /// A worker asks to download a job's weights.
    WeightsAsked {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// The asking worker.
        origin: Origin,
        /// Identity of the job.
        job: JobId,
    },
    /// A download of a job's weights has waited for its turn until now, because others were served.
    WeightsWaited(Origin, JobId),
    /// The weights that a job starts from were loaded, or could not be.
    Loaded {
        /// Identity of the job.
        job: JobId,
        /// The activation that asked for it.
        activation: Activation,
        /// Where it starts, or the reason why it cannot.
        result: Result<Start, StartError>,
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
    /// Size in bytes of the files of a job that has ended.
    Measured {
        /// Identity of the job.
        job: JobId,
        /// The size.
        bytes: u64,
    },
    /// A file that was announced does not come, or is refused. Of one that was received: nothing.
    UploadAbandoned(u64),
    /// The state cannot be stored any more, for this reason, or can be stored again.
    Storage(Option<StorageFailure>),
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

/// Operations that users can request.
#[derive(Debug)]
pub enum UserCall {
    /// Create a job.
    Create {
        /// Chosen by the client; a retry with the same value creates no second job.
        request_id: String,
        /// The specification.
        submission: Box<Submission>,
        /// The checkpoint that it starts from, where that is one of another job, or why there is none.
        initial_checkpoint: Result<Option<InitialCheckpoint>, CallError>,
        /// Determines the identity of the job if the call is not a retry. It is drawn outside the core, which has no
        /// randomness.
        entropy: u64,
    },
    /// View one job.
    Get(JobId),
    /// View a page of jobs.
    List(JobQuery),
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
    /// Queue a job again that has failed or was cancelled.
    Retry {
        /// Identity of the job.
        id: JobId,
        /// Its stored specification; `None` if none is stored.
        spec: Option<Vec<u8>>,
    },
    /// Delete a job that has ended.
    Delete(JobId),
    /// Send a file of this many bytes; answered with a ticket.
    AnnounceUpload(u64),
    /// Keep a file that was received and checked.
    KeepUpload {
        /// The ticket under which it was received.
        ticket: u64,
        /// Digest of its content.
        digest: Digest,
    },
    /// View all registered workers.
    Workers,
}

impl UserCall {
    /// Whether it changes something that has to be stored before it is answered.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Get(_) | Self::List { .. } | Self::Workers | Self::AnnounceUpload(_) => false,
            Self::Create { .. }
            | Self::Cancel(_)
            | Self::Pause(_)
            | Self::Resume { .. }
            | Self::Retry { .. }
            | Self::Delete(_)
            | Self::KeepUpload { .. } => true,
        }
    }
}
