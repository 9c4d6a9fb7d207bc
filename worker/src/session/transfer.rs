//! Tensors between a worker and the coordinator: on a connection of their own, or within a process. [`download`]
//! fetches weights, [`send`] uploads partials and initial weights.

mod blocks;
mod download;
mod send;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBufferPool;
use lookbehind_common::ids::{FencingToken, RequestId};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_common::text::brief;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ending::MAX_WORDS;
use super::route::Route;
use crate::telemetry::WorkerMetrics;

/// Attempts before a transfer that fails because of the connection is given up.
const ATTEMPTS: u32 = 3;
/// Flat buffers whose memory is reused from one download to the next: parameters and running statistics.
const IDLE_FLAT_BUFFERS: usize = 2;

/// A partial to be uploaded.
pub(super) struct PartialUpload {
    pub(super) request: RequestId,
    pub(super) segment: Segment,
    pub(super) partial: Partial,
    /// Format in which its gradient is sent.
    pub(super) format: ExchangeFormat,
    pub(super) compute_seconds: f64,
    /// Seconds for which computing waited for samples.
    pub(super) data_seconds: f64,
}

/// Transfers tensors for one session. It bypasses the codec of the gRPC library, which copies each byte twice.
#[derive(Clone, Debug)]
pub(super) struct Transfers {
    route: Route,
    /// The way of blocks of weights, and the window of its calls, which depends on how many workers exchange.
    blocks: Arc<Mutex<Option<(u32, Route)>>>,
    /// Memory for weights, reused from one download to the next.
    flat_buffers: FlatBufferPool,
    /// Sent with every call.
    fencing_token: FencingToken,
    /// Longest time without progress before a transfer is given up.
    idle: Duration,
    /// Incremented for every chunk.
    progress: Arc<AtomicU64>,
    /// Cancels all transfers.
    over: CancellationToken,
    /// Whether the coordinator has taken anything in this session.
    delivered: Arc<AtomicBool>,
    metrics: WorkerMetrics,
}

impl Transfers {
    /// `idle` is the longest time without progress; `progress` is incremented for every chunk; `over` cancels all
    /// transfers.
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
            blocks: Arc::default(),
            flat_buffers: FlatBufferPool::new(IDLE_FLAT_BUFFERS),
            fencing_token,
            idle,
            progress,
            over,
            delivered: Arc::default(),
            metrics,
        }
    }

    /// The way to the coordinator for calls with this flow-control window in bytes. The last one is kept.
    fn route_with_window(&self, window: u32) -> Route {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        match &*blocks {
            Some((known, route)) if *known == window => route.clone(),
            _ => {
                let route = self.route.with_window(window);
                *blocks = Some((window, route.clone()));
                route
            }
        }
    }

    /// Whether the coordinator has taken anything in this session; it changes with the transfers.
    pub(super) fn delivered(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.delivered)
    }

    /// Runs a future, unless the session ends first.
    pub(super) async fn until_session_ends<T>(
        &self,
        act: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let ended = self.over.run_until_cancelled(act).await;
        ended.unwrap_or_else(|| Err(Status::cancelled("the session is over")))
    }

    /// Waits, unless the session ends first. Returns whether it goes on: who tries again for as long as it lasts must not
    /// do so when it is over, when nothing waits any more.
    #[must_use]
    pub(super) async fn pause(&self, wait: Duration) -> bool {
        self.over.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
    }

    /// Whether the session has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// The fencing token of the session.
    pub(super) fn fencing_token(&self) -> &FencingToken {
        &self.fencing_token
    }

    /// Longest time without progress before a transfer is given up.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Memory for weights.
    pub(super) fn memory(&self) -> &FlatBufferPool {
        &self.flat_buffers
    }

    /// Runs a step of a transfer, for at most the idle time.
    pub(super) async fn in_time<T>(&self, act: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::time::timeout(self.idle, act).await.unwrap_or_else(|_| Err(stalled()))
    }

    /// Counters of what is transferred over the network, and of failures.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Records progress of the current request.
    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// A status for people: what has failed, down to its cause, in a length that a log can take.
pub(in crate::session) fn said(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    brief(&text, MAX_WORDS).into_owned()
}

fn stalled() -> Status {
    Status::deadline_exceeded("the transfer made no progress for too long")
}
