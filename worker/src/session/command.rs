//! What the control stream asks of the executor, and what it answers with.

use std::sync::atomic::{AtomicU64, Ordering};

use lookbehind_common::ids::{JobId, RequestId};
use lookbehind_common::reduction::Segment;
use lookbehind_proto::v1;
use tokio::sync::mpsc;

use super::transfer::{PartialUpload, Transfers};
use crate::compute::Request;

/// What the control stream asks of the executor.
pub(super) enum ExecutorCommand {
    /// Load a job.
    Prepare(Context, JobId, Box<v1::JobSpec>),
    /// Send its initial weights.
    SendInitialState(Context, JobId),
    /// Compute some segments.
    Compute(Context, Assignment),
    /// Forget a job.
    Release(JobId),
}

/// What a session gives the executor to answer with.
#[derive(Clone)]
pub(super) struct Context {
    /// Moves tensors.
    pub(super) transfers: Transfers,
    /// To the coordinator.
    pub(super) messages: mpsc::Sender<ExecutorMessage>,
    /// Partials on their way up.
    pub(super) uploads: mpsc::Sender<PartialUpload>,
}

impl Context {
    /// ExecutorMessage something to the coordinator. Nothing is said when the session is over: its receiver is dropped then, and the
    /// coordinator takes back what it had assigned.
    pub(super) fn send(&self, message: v1::session_request::Message) {
        let _ = self.messages.blocking_send(ExecutorMessage::Message(message));
    }

    /// Ends the session, for which there is no more use.
    pub(super) fn broken(&self, reason: String) {
        let _ = self.messages.blocking_send(ExecutorMessage::Broken(reason));
    }

    /// Ends the process: what it computes on is lost to it.
    pub(super) fn device_lost(&self, reason: String) {
        let _ = self.messages.blocking_send(ExecutorMessage::DeviceLost(reason));
    }
}

/// What the executor has to say.
pub(super) enum ExecutorMessage {
    /// A control message.
    Message(v1::session_request::Message),
    /// The session is of no use any more.
    Broken(String),
    /// The process is: what it computes on is lost to it.
    DeviceLost(String),
}

/// Segments to compute.
pub(super) struct Assignment {
    /// Numbers the assignments of this process: a higher one of the same job supersedes this one, unless it is
    /// for the same work.
    pub(super) number: u64,
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) weights_version: u64,
    pub(super) segments: Vec<Segment>,
}

/// The work that counts now, shared by the sessions of a process: others need not be finished.
#[derive(Debug, Default)]
pub(super) struct Generation {
    current: AtomicU64,
    issued: AtomicU64,
}

impl Generation {
    /// New work supersedes all that came before; returns its number.
    pub(super) fn supersede(&self) -> u64 {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        number
    }

    /// Whether work of that number still counts.
    pub(super) fn is(&self, number: u64) -> bool {
        self.current.load(Ordering::Relaxed) == number
    }
}
