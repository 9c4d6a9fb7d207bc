//! Commands: the outputs of the state machine.

use std::sync::Arc;

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::digest::Digest;
use lookbehind_common::ids::{JobId, RequestId, SessionId, Ticket};
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::model_state::Weights;
use lookbehind_common::reduction::Segment;
use lookbehind_common::test_set::TestSet;
use lookbehind_proto::v1;

use crate::state::AuditedSlice;
use crate::state::event::{Activation, PeerEndpoint, Reply, ReplyTo};
use crate::state::observation::Observation;
use crate::state::record::{InitialCheckpoint, JobChange, UploadRecord};
use crate::training::{Input, Snapshot, Trainer};

/// One output. The runtime carries them out in order; what must be durable before a reply is emitted before it.
#[derive(Debug)]
pub enum Command {
    /// Answer a call.
    Reply(ReplyTo, Reply),
    /// Answer a call that has changed something, once the changes are stored.
    Acknowledge(ReplyTo, Reply),
    /// Send a command on a worker's control stream.
    Send(SessionId, WorkerCommand),
    /// Close a worker's control stream after the commands sent before it.
    Disconnect(SessionId),
    /// Store a change of a job durably.
    Persist(Box<JobChange>),
    /// Keep the checkpoint that a job starts from among the job's own files, if it is not there already.
    Adopt(JobId, InitialCheckpoint),
    /// Determine the size of a job's files; answered by `Measured`.
    Measure(JobId),
    /// Remove the stored job durably, then its files.
    Delete(JobId),
    /// Store the record of an uploaded file durably. With a ticket, the file received under it first gets its name.
    KeepUpload {
        /// The ticket of a file that was just received; `None` if the file has its name already.
        ticket: Option<u64>,
        /// The record.
        record: UploadRecord,
    },
    /// Remove the record of an uploaded file durably, then the file.
    DropUpload(Digest),
    /// Load the weights that a job starts from; answered by `Loaded`.
    Load {
        /// Identity of the job.
        job: JobId,
        /// The activation that asks; an answer for an earlier one is ignored.
        activation: Activation,
        /// Specification, description and source.
        start: Box<StartFrom>,
    },
    /// Reduce partials and run the optimizer; answered by `Advanced`.
    Advance {
        /// Identity of the job.
        job: JobId,
        /// The activation that asks; an answer for an earlier one is ignored.
        activation: Activation,
        /// The job's trainer. It comes back in the answer: no second computation can start meanwhile.
        trainer: Box<Trainer>,
        /// The step to compute.
        input: Input,
        /// The blocks whose digests are needed of new weights, for an exchange between workers.
        blocks: Option<Blocks>,
    },
    /// Serve these weights of the job to its workers, in place of any older version.
    Publish {
        /// Identity of the job.
        job: JobId,
        /// The version that assignments name; it rises with each change of the weights within an activation.
        version: u64,
        /// Shared with the trainer.
        weights: Weights,
        /// Digests of their blocks; empty if they are not known: then no single blocks are served.
        digests: Arc<[BlockDigest]>,
    },
    /// Stop serving weights of the job and close its files.
    Unpublish(JobId),
    /// Record an outer step in the job's metrics; answered by `ReplayDiffers` if the step was recorded before with
    /// another digest.
    Record {
        /// Identity of the job.
        job: JobId,
        /// The activation that computed the step.
        activation: Activation,
        /// The record to append to the job's journal.
        metrics: Box<v1::OuterStepMetrics>,
    },
    /// Write a checkpoint; answered by `Checkpointed`.
    Checkpoint {
        /// Identity of the job.
        job: JobId,
        /// The activation that asks; an answer for an earlier one is ignored.
        activation: Activation,
        /// What the checkpoint contains.
        snapshot: Box<Snapshot>,
    },
    /// Pass something to metrics, traces and the dashboard.
    Observe(Observation),
    /// No job is active after a shutdown request: the process may end.
    Stopped,
}

/// What is needed to load the weights that an activation of a job starts from.
#[derive(Debug)]
pub struct StartFrom {
    /// Specification of the job: it determines the optimizer.
    pub spec: JobSpec,
    /// Model and data as the workers found them: the weights must fit its layout.
    pub description: Arc<JobDescription>,
    /// Checkpoint or uploaded file.
    pub source: Source,
}

/// Where the weights come from that an activation starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The newest whole checkpoint of the job.
    Checkpoint,
    /// The uploaded model file with this digest.
    Upload(Digest),
    /// A checkpoint of another job.
    Job(InitialCheckpoint),
}

/// Commands to workers, sent on their control streams.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerCommand {
    /// The worker is not registered, or no longer; with the reason.
    Refused(String),
    /// The coordinator is alive; the count rises with each heartbeat.
    Heartbeat(u64),
    /// Load a job's model and data and compute the probe.
    Prepare(JobId, Arc<v1::JobSpec>),
    /// Draw a job's initial weights and upload them.
    SendInitialState(JobId),
    /// Compute partials.
    Assign(Assignment),
    /// The exchange of the current request has changed.
    Exchange(Arc<ExchangePlan>),
    /// Send a slice of a partial.
    Audit(AuditQuestion),
    /// Free the memory of a job; the worker no longer serves it.
    Release(JobId),
}

/// The part of a request that one worker computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The request that the segments belong to.
    pub request: RequestId,
    /// What the request computes.
    pub coordinates: Coordinates,
    /// Version of the weights to compute at.
    pub weights_version: u64,
    /// The worker makes one partial for each of these segments.
    pub segments: Vec<Segment>,
    /// How workers exchange weights and, for a gradient, partials; `None` if all go through the coordinator.
    pub exchange: Option<Arc<ExchangePlan>>,
    /// Digests of the blocks of the weights; empty without an exchange.
    pub weights_digests: Arc<[BlockDigest]>,
}

/// A question to the maker of a partial, with which the coordinator audits the owner of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuestion {
    /// The request.
    pub request: RequestId,
    /// The segment of the partial.
    pub segment: Segment,
    /// What is asked for.
    pub of: AuditedSlice,
}

/// How the workers of a request exchange weights and partials with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangePlan {
    /// The request.
    pub request: RequestId,
    /// With it, its workers prove to each other that the coordinator sent them.
    pub ticket: Ticket,
    /// The workers that take part.
    pub peers: Vec<PeerAddress>,
    /// Ranges that together cover all blocks, and their owners; `None` for the coordinator. Empty for a test.
    pub ranges: Vec<(BlockRange, Option<SessionId>)>,
    /// The same for the blocks of the weights, where partials have others, or this worker gets the weights from others than
    /// most do; else empty.
    pub weights: Vec<(BlockRange, Option<SessionId>)>,
    /// Segments and the workers that were asked for them.
    pub makers: Vec<(Segment, SessionId)>,
}

/// A worker and where other workers reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAddress {
    /// Its session.
    pub session: SessionId,
    /// Where it is reached.
    pub endpoint: PeerEndpoint,
}

/// What a request computes, apart from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Gradient request, or test request.
    pub kind: RequestKind,
    /// Number of samples in all shards together.
    pub samples: u64,
    /// Number of shards, none of them empty.
    pub shards: u32,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Gradient, loss and batch statistics of a batch.
    Gradient {
        /// Epoch of the batch, from 0.
        epoch: u64,
        /// Index of the batch within the epoch, from 0.
        batch: u64,
    },
    /// Loss and number of correct predictions on the test split or another set of samples.
    Test(TestSet),
}
