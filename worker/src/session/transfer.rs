//! Tensors between a worker and the coordinator: on a connection of their own, or within a process. Weights come by
//! [`download`], partials and initial weights go by [`send`].

mod download;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lookbehind_common::flat_buffer::{FlatBuffer, FlatBufferPool};
use lookbehind_common::ids::{FencingToken, RequestId};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::route::Route;
use crate::telemetry::WorkerMetrics;

/// Attempts before a transfer that fails for no reason of its own is given up.
const ATTEMPTS: u32 = 3;
/// FlatBuffers of weights whose memory is kept from one download to the next: parameters and statistics.
const IDLE_FLAT_BUFFERS: usize = 2;

/// A partial on its way to the coordinator.
pub(super) struct PartialUpload {
    pub(super) request: RequestId,
    pub(super) segment: Segment,
    pub(super) partial: Partial,
    pub(super) compute_seconds: f64,
    /// Seconds that computing waited for samples.
    pub(super) data_seconds: f64,
}

/// Parameters and statistics.
pub(super) type Weights = (Arc<FlatBuffer>, Arc<FlatBuffer>);

/// Moves tensors for one session, without the gRPC library's codec, which copies each byte twice.
#[derive(Clone)]
pub(super) struct Transfers {
    route: Route,
    /// Memory of weights, kept from one download to the next.
    flat_buffers: FlatBufferPool,
    /// Who speaks, with every call.
    fencing_token: FencingToken,
    /// How long a transfer may stand still.
    idle: Duration,
    /// Rises with every chunk.
    progress: Arc<AtomicU64>,
    /// Ends all transfers.
    over: CancellationToken,
    metrics: WorkerMetrics,
}

impl Transfers {
    /// `idle` is how long a transfer may stand still; `progress` rises with every chunk; `over` ends all transfers.
    pub(super) fn new(
        route: Route,
        fencing_token: FencingToken,
        idle: Duration,
        progress: Arc<AtomicU64>,
        over: CancellationToken,
        metrics: WorkerMetrics,
    ) -> Self {
        Self {
            route,
            flat_buffers: FlatBufferPool::new(IDLE_FLAT_BUFFERS),
            fencing_token,
            idle,
            progress,
            over,
            metrics,
        }
    }

    /// Does something unless the session is over before.
    async fn unless_over<T>(&self, act: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let ended = self.over.run_until_cancelled(act).await;
        ended.unwrap_or_else(|| Err(Status::cancelled("the session is over")))
    }

    /// Who speaks.
    pub(super) fn fencing_token(&self) -> &FencingToken {
        &self.fencing_token
    }

    /// Where it is counted what goes over the network, and what fails.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Notes that the work in hand has advanced.
    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}

fn stands_still() -> Status {
    Status::deadline_exceeded("the transfer stood still for too long")
}
