//! Tensors between a worker and the coordinator: on a connection of their own, or within a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lookbehind_common::arena::{Arena, ArenaPool, shared_bytes};
use lookbehind_common::contribution::Contribution;
use lookbehind_common::ids::{Fence, JobId, WorkId};
use lookbehind_common::reduction::Node;
use lookbehind_proto::transfer::body::{self, Incoming, IncomingError};
use lookbehind_proto::transfer::frames::Frames;
use lookbehind_proto::transfer::in_process::{Handed, ShareWeights, SharedWeights};
use lookbehind_proto::transfer::parser::Event as Part;
use lookbehind_proto::transfer::{ArenaReceiver, CHUNK_BYTES, Sender, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_server::SERVICE_NAME;
use lookbehind_telemetry::metrics::Direction;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::route::Route;
use crate::telemetry::WorkerMetrics;

/// Attempts before a transfer that fails for no reason of its own is given up.
const ATTEMPTS: u32 = 3;
/// Arenas of weights whose memory is kept from one download to the next: parameters and statistics.
const IDLE_ARENAS: usize = 2;

/// A partial on its way up.
pub(super) struct Partial {
    pub(super) work: WorkId,
    pub(super) node: Node,
    pub(super) contribution: Contribution,
    pub(super) compute_seconds: f64,
    /// Seconds that computing waited for samples.
    pub(super) data_seconds: f64,
}

/// Parameters and statistics.
pub(super) type Weights = (Arc<Arena>, Arc<Arena>);

/// Moves tensors for one session, without the gRPC library's codec, which copies each byte twice.
#[derive(Clone)]
pub(super) struct Transfers {
    route: Route,
    arenas: ArenaPool,
    fence: Fence,
    idle: Duration,
    progress: Arc<AtomicU64>,
    over: CancellationToken,
    metrics: WorkerMetrics,
}

impl Transfers {
    /// `idle` is how long a transfer may stand still; `progress` rises
    /// with every chunk; `over` ends all transfers.
    pub(super) fn new(
        route: Route,
        fence: Fence,
        idle: Duration,
        progress: Arc<AtomicU64>,
        over: CancellationToken,
        metrics: WorkerMetrics,
    ) -> Self {
        Self { route, arenas: ArenaPool::new(IDLE_ARENAS), fence, idle, progress, over, metrics }
    }

    /// Does something unless the session is over before.
    async fn unless_over<T>(&self, act: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let ended = self.over.run_until_cancelled(act).await;
        ended.unwrap_or_else(|| Err(Status::cancelled("the session is over")))
    }

    /// Who speaks.
    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Where it is counted what goes over the network, and what fails.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Notes that the work in hand has advanced.
    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Fetches one version of a job's weights; `None` if it is served no more.
    pub(super) async fn download(
        &self,
        job: &JobId,
        version: u64,
        lengths: (usize, usize),
    ) -> Result<Option<Weights>, Status> {
        for attempt in 1.. {
            match self.unless_over(self.try_download(job, version, lengths)).await {
                Ok(weights) => return Ok(Some(weights)),
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    return Ok(None);
                }
                Err(status) if self.over.is_cancelled() || attempt >= ATTEMPTS => return Err(status),
                Err(status) => tracing::debug!(%job, attempt, %status, "download failed; trying again"),
            }
        }
        Ok(None)
    }

    async fn try_download(
        &self,
        job: &JobId,
        version: u64,
        lengths: (usize, usize),
    ) -> Result<Weights, Status> {
        let begun = Instant::now();
        let message = v1::DownloadWeightsRequest {
            fence: Some((&self.fence).into()),
            job_id: job.to_string(),
            version,
        };
        let mut request =
            body::call(SERVICE_NAME, "DownloadWeights", body::request(Frames::message(&message)))?;
        request.extensions_mut().insert(ShareWeights);
        let answer = tokio::time::timeout(self.idle, self.route.call(request)).await;
        let mut answer = answer.map_err(|_| stands_still())??;
        if let Some(SharedWeights(parameters, statistics)) = answer.extensions_mut().remove() {
            check_lengths((parameters.len() as u64, statistics.len() as u64), lengths)?;
            self.advance();
            return Ok((parameters, statistics));
        }
        let mut incoming = Incoming::new(answer.into_body());
        self.check_header(&mut incoming, lengths).await?;
        let (parameters, statistics) = (self.arenas.lend(lengths.0), self.arenas.lend(lengths.1));
        let mut receiver = ArenaReceiver::into_arenas(parameters, statistics);
        loop {
            match self.next(&mut incoming).await? {
                Some(Part::Chunk { offset, length }) => receiver.begin(offset, length),
                Some(Part::Data(data)) => receiver.fill(&data),
                Some(Part::Trailer(trailer)) => {
                    let (parameters, statistics, _) = receiver.finish(&trailer, &[]).map_err(damaged)?;
                    let bytes = parameters.as_bytes().len() + statistics.as_bytes().len();
                    self.metrics.moved(Direction::Received, bytes, begun);
                    return Ok((Arc::new(parameters), Arc::new(statistics)));
                }
                _ => return Err(Status::data_loss("expected a chunk or the trailer")),
            }
            .map_err(damaged)?;
        }
    }

    /// Compares what the coordinator is about to send with what is expected.
    async fn check_header(&self, incoming: &mut Incoming, lengths: (usize, usize)) -> Result<(), Status> {
        let Some(Part::Header(header)) = self.next(incoming).await? else {
            return Err(Status::data_loss("expected the header first"));
        };
        let header = v1::StateHeader::decode(header).map_err(damaged)?;
        check_lengths((header.parameters, header.statistics), lengths)
    }

    /// Waits for the next part of a transfer, but not for ever.
    async fn next(&self, incoming: &mut Incoming) -> Result<Option<Part>, Status> {
        self.advance();
        let waited = tokio::time::timeout(self.idle, incoming.next()).await;
        let next = waited.map_err(|_| stands_still())?;
        next.map_err(|error| match error {
            IncomingError::Call(status) => status,
            IncomingError::Transfer(error) => damaged(error),
        })
    }

    /// Sends a partial. A refusal of what it says is an error; that it is no longer wanted is none.
    pub(super) async fn upload(&self, partial: Partial) -> Result<(), Status> {
        let header = v1::PartialHeader {
            fence: Some((&self.fence).into()),
            work: Some((&partial.work).into()),
            node: Some(partial.node.into()),
            gradient: partial.contribution.gradient.len() as u64,
            statistics: partial.contribution.statistics.len() as u64,
            loss_sum: partial.contribution.sums.loss,
            correct: partial.contribution.sums.correct,
            samples: partial.contribution.sums.samples,
            compute_seconds: partial.compute_seconds,
            data_seconds: partial.data_seconds,
        };
        let covered = sums_bytes(&partial.contribution.sums);
        let Contribution { gradient, statistics, .. } = partial.contribution;
        let response: v1::UploadPartialResponse =
            self.send("UploadPartial", &header, [gradient, statistics], &covered).await?;
        tracing::trace!(job = %partial.work.job, outcome = ?response.outcome(), "partial sent");
        Ok(())
    }

    /// Sends initial parameters and statistics. That they are no longer wanted is an error of the kind
    /// `FailedPrecondition`.
    pub(super) async fn upload_initial_state(
        &self,
        job: &JobId,
        parameters: Arena,
        statistics: Arena,
    ) -> Result<(), Status> {
        let state =
            v1::StateHeader { parameters: parameters.len() as u64, statistics: statistics.len() as u64 };
        let header = v1::InitialStateHeader {
            fence: Some((&self.fence).into()),
            job_id: job.to_string(),
            state: Some(state),
        };
        let _: v1::UploadInitialStateResponse =
            self.send("UploadInitialState", &header, [parameters, statistics], &[]).await?;
        Ok(())
    }

    /// Sends two arenas after a header, again where the connection failed and not the content.
    async fn send<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        arenas: [Arena; 2],
        covered: &[u8],
    ) -> Result<R, Status> {
        if matches!(self.route, Route::InProcess(_)) {
            return self.unless_over(self.hand_over(method, header, arenas)).await;
        }
        let parts = arenas.map(|arena| shared_bytes(&Arc::new(arena)));
        let mut attempt = 1;
        loop {
            match self.unless_over(self.try_send(method, header, parts.clone(), covered)).await {
                Err(status) if !is_final(&status) && !self.over.is_cancelled() && attempt < ATTEMPTS => {
                    tracing::debug!(method, attempt, %status, "upload failed; trying again");
                }
                ended => return ended,
            }
            attempt += 1;
        }
    }

    async fn try_send<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        parts: [Bytes; 2],
        covered: &[u8],
    ) -> Result<R, Status> {
        let progress = Arc::clone(&self.progress);
        let deadline = self.deadline(&parts);
        let (begun, bytes) = (Instant::now(), parts.iter().map(Bytes::len).sum());
        let pieces = Sender::new(parts, covered).inspect(move |_| {
            progress.fetch_add(1, Ordering::Relaxed);
        });
        let request = body::call(SERVICE_NAME, method, body::request(Frames::transfer(header, pieces)))?;
        let answered = async { body::message(self.route.call(request).await?.into_body()).await };
        let answered = tokio::time::timeout(deadline, answered).await.map_err(|_| stands_still())?;
        answered.inspect(|_| self.metrics.moved(Direction::Sent, bytes, begun))
    }

    /// Gives two arenas to the coordinator beside a header.
    async fn hand_over<R: Message + Default>(
        &self,
        method: &str,
        header: &impl Message,
        arenas: [Arena; 2],
    ) -> Result<R, Status> {
        let mut request =
            body::call(SERVICE_NAME, method, body::request(Frames::transfer(header, std::iter::empty())))?;
        request.extensions_mut().insert(Handed::new(arenas));
        let answer = body::message(self.route.call(request).await?.into_body()).await;
        self.advance();
        answer
    }

    /// How long a whole upload may take: the coordinator notices one that stands still by itself.
    fn deadline(&self, parts: &[Bytes; 2]) -> Duration {
        let chunks = parts.iter().map(|part| part.len().div_ceil(CHUNK_BYTES)).sum::<usize>();
        self.idle * (2 + u32::try_from(chunks).unwrap_or(u32::MAX - 2))
    }
}

/// Compares the lengths of parameters and statistics that come with those that are expected.
fn check_lengths(found: (u64, u64), expected: (usize, usize)) -> Result<(), Status> {
    if found == (expected.0 as u64, expected.1 as u64) {
        return Ok(());
    }
    Err(Status::data_loss("weights of another layout"))
}

fn stands_still() -> Status {
    Status::deadline_exceeded("the transfer stood still for too long")
}

/// What came is not what was sent.
fn damaged(error: impl std::fmt::Display) -> Status {
    Status::data_loss(error.to_string())
}

/// Whether sending the same again would end the same.
fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented)
}
