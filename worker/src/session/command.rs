//! Commands of the control stream to the executor, and the executor's messages in return.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lookbehind_common::blocks::{BlockDigest, Blocks};
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::ids::{JobId, RequestId};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::exchange::{Means, Peers, Round};
use super::transfer::{PartialUpload, Transfers};
use crate::compute::Request;
use crate::data::Cancellation;

/// A command of the control stream to the executor.
pub(super) enum ExecutorCommand {
    /// Load a job, unless that is cancelled.
    Prepare(Context, JobId, Box<v1::JobSpec>, Cancellation),
    /// Send the job's initial weights.
    SendInitialState(Context, JobId),
    /// Compute some segments.
    Compute(Context, Assignment),
    /// Unload a job.
    Release(JobId),
}

/// Lengths of a job's flat buffers, in elements, and the format of its gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Of the weights: parameters and running statistics.
    pub(super) weights: ModelState<usize>,
    /// Of the partials of gradient requests: gradient and batch statistics.
    pub(super) partials: ModelState<usize>,
    /// Format in which the gradients of partials travel.
    pub(super) format: ExchangeFormat,
}

impl Lengths {
    /// The blocks of the weights.
    pub(super) fn weight_blocks(&self) -> Blocks {
        Blocks::new(self.weights)
    }

    /// The blocks of the partials of gradient requests.
    pub(super) fn partial_blocks(&self) -> Blocks {
        Blocks::new(self.partials).of_gradients(self.format)
    }
}

/// The means by which the executor answers within one session.
#[derive(Clone)]
pub(super) struct Context {
    /// Transfers tensors.
    pub(super) transfers: Transfers,
    /// Messages for the coordinator.
    pub(super) messages: mpsc::Sender<ExecutorMessage>,
    /// Partials to be uploaded.
    pub(super) uploads: mpsc::Sender<PartialUpload>,
    /// Connections to other workers; `None` if this one has none.
    pub(super) peers: Option<Peers>,
}

impl Context {
    /// What a round needs; `None` without connections to other workers.
    pub(super) fn means(&self) -> Option<Means> {
        let (transfers, messages) = (self.transfers.clone(), self.messages.clone());
        self.peers.clone().map(|peers| Means { transfers, peers, messages })
    }

    /// Sends a message to the coordinator. A failed send is ignored: the receiver was dropped because the session has
    /// ended, and then the coordinator takes back what it had assigned.
    pub(super) fn send(&self, message: v1::session_request::Message) {
        let _ = self.messages.blocking_send(ExecutorMessage::Message(message));
    }

    /// Reports that tensors could not be transferred, and waits: what follows would probably fail in the same way.
    pub(super) fn transfer_failed(&self, failed: v1::TransferFailed, runtime: &Handle, wait: Duration) {
        self.send(v1::session_request::Message::TransferFailed(failed));
        runtime.block_on(self.transfers.pause(wait));
    }

    /// Ends the session, which has become unusable.
    pub(super) fn broken(&self, reason: String) {
        let _ = self.messages.blocking_send(ExecutorMessage::Broken(reason));
    }

    /// Ends the process: its device is lost.
    pub(super) fn device_lost(&self, reason: String) {
        let _ = self.messages.blocking_send(ExecutorMessage::DeviceLost(reason));
    }
}

/// A message of the executor to the control stream.
pub(super) enum ExecutorMessage {
    /// A message for the coordinator.
    Message(v1::session_request::Message),
    /// The session has become unusable.
    Broken(String),
    /// The device is lost, so the process must end.
    DeviceLost(String),
}

/// Segments to compute.
pub(super) struct Assignment {
    /// Generation of the assignment within this process: a higher one of the same job supersedes this one. Further
    /// assignments of the same request share a number.
    pub(super) number: u64,
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) weights_version: u64,
    pub(super) segments: Vec<Segment>,
    /// How weights and partials are exchanged with other workers; `None` if all go through the coordinator.
    pub(super) round: Option<Arc<Round>>,
    /// Digests of the blocks of the weights; empty without a round.
    pub(super) weights_digests: Arc<[BlockDigest]>,
}

/// The generation of requests that is current, shared by the sessions of a process: older requests need not be
/// finished. Relaxed ordering suffices, because no other memory depends on these numbers.
#[derive(Debug, Default)]
pub(super) struct Generation {
    current: AtomicU64,
    issued: AtomicU64,
}

impl Generation {
    /// Starts a new generation, which supersedes all before it; returns its number.
    pub(super) fn supersede(&self) -> u64 {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        number
    }

    /// Whether requests of that generation are still current.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.current.load(Ordering::Relaxed) == number
    }
}

/// The job that is to be loaded, shared by the sessions of a process: a worker has one job at a time, so loading ends
/// when the job is released or another one comes. A lost session does not end it, because the next one usually asks for
/// the same job.
#[derive(Debug, Default)]
pub(super) struct WantedJob(Mutex<Option<(JobId, Cancellation)>>);

impl WantedJob {
    /// A job is to be loaded: the loading of any other one is cancelled. Returns what cancels the loading of this one.
    pub(super) fn want(&self, job: &JobId) -> Cancellation {
        let mut wanted = self.lock();
        if let Some((known, cancellation)) = &*wanted {
            if known == job {
                return cancellation.clone();
            }
            cancellation.cancel();
        }
        let cancellation = Cancellation::default();
        *wanted = Some((job.clone(), cancellation.clone()));
        cancellation
    }

    /// A job need not be loaded any more.
    pub(super) fn release(&self, job: &JobId) {
        let mut wanted = self.lock();
        if let Some((_, cancellation)) = wanted.take_if(|(known, _)| known == job) {
            cancellation.cancel();
        }
    }

    /// No job need be loaded any more.
    pub(super) fn clear(&self) {
        if let Some((_, cancellation)) = self.lock().take() {
            cancellation.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(JobId, Cancellation)>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
