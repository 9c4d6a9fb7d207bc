//! Downloads of weights by workers, which take turns if they are large.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::JobId;
use lookbehind_proto::convert::job_id;
use lookbehind_proto::transfer::body;
use lookbehind_proto::transfer::frames::{self, Frames};
use lookbehind_proto::transfer::in_process::SharedWeights;
use lookbehind_proto::transfer::{self, CHUNK_BYTES};
use lookbehind_proto::v1;
use lookbehind_telemetry::metrics::Direction;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

use super::call_origin::CallOrigin;
use super::tensor_service::{TensorServer, invalid};
use crate::runtime::{Mailbox, Published, Shared, Turn};
use crate::state::event::{Admission, Event, Origin};

impl TensorServer {
    /// Answers a call of `DownloadWeights`; with `share`, the caller is in this process and gets the weights themselves.
    pub(super) async fn download_weights(
        &self,
        request: Body,
        caller: CallOrigin,
        share: bool,
    ) -> Result<http::Response<Body>, Status> {
        let request: v1::DownloadWeightsRequest = body::message(request).await?;
        let origin = caller.origin(request.fencing_token)?;
        let job = job_id(&request.job_id).map_err(invalid)?;
        let (asking, asked) = (origin.clone(), job.clone());
        let event = move |reply_to| Event::WeightsAsked { reply_to, origin: asking, job: asked };
        match self.admission(event).await? {
            Admission::Granted => {}
            Admission::Stale(reason) | Admission::Refused(reason) => {
                return Err(Status::failed_precondition(reason));
            }
        }
        let published = self.0.weights.get(&job, request.version).ok_or_else(|| {
            Status::not_found(format!("job {job}: weights version {} is not served", request.version))
        })?;
        if let Some(range) = request.blocks {
            return self.download_blocks(&published, range);
        }
        let lengths = published.weights.lengths();
        let header = v1::StateHeader::from(lengths);
        if share {
            let mut response = http::Response::new(body::response(Frames::message(&header)));
            response.extensions_mut().insert(SharedWeights(published.weights));
            return Ok(response);
        }
        let elements = lengths.parameters + lengths.statistics;
        self.0.observer.metrics.transferred(Direction::Sent, (elements * size_of::<f32>()) as u64);
        let all = body::response(Frames::transfer(&header, published.send()));
        if elements * size_of::<f32>() <= CHUNK_BYTES {
            return Ok(http::Response::new(all));
        }
        let waiting = Box::pin(waiting(Queued::new(&self.0, origin, job, published)));
        Ok(http::Response::new(Body::new(InTurn { all, phase: Phase::Header(waiting) })))
    }
}

impl TensorServer {
    /// Answers with a range of blocks. These need no turns, since each worker that owns blocks downloads others, but keep
    /// abreast.
    fn download_blocks(
        &self,
        published: &Published,
        range: v1::BlockRange,
    ) -> Result<http::Response<Body>, Status> {
        let range = BlockRange::try_from(range).map_err(invalid)?;
        let blocks = published.blocks(range);
        let blocks = blocks
            .ok_or_else(|| Status::invalid_argument(format!("{range} of the weights are not served")))?;
        let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        self.0.observer.metrics.transferred(Direction::Sent, bytes as u64);
        let blocks = published.abreast.serve(blocks).map(Ok);
        Ok(http::Response::new(transfer::blocks::response(blocks)))
    }
}

/// A download that waits for its turn.
struct Queued {
    published: Published,
    /// How long the turn lasts if no download of the job has been measured.
    unmeasured: Duration,
    /// Time between two signs of life.
    interval: Duration,
    mailbox: Mailbox,
    origin: Origin,
    job: JobId,
}

/// What comes of waiting.
enum Waited {
    /// The download still waits.
    Still,
    /// It has the turn.
    Over(Turn),
}

impl Queued {
    fn new(shared: &Shared, origin: Origin, job: JobId, published: Published) -> Self {
        let (unmeasured, interval) = (shared.transfer_idle, shared.heartbeat_interval);
        Self { published, unmeasured, interval, mailbox: shared.mailbox.clone(), origin, job }
    }

    /// Waiting is not the worker's fault: the time from its assignment to now does not count against it.
    async fn excuse(&self) {
        let event = Event::WeightsWaited(self.origin.clone(), self.job.clone());
        // While the coordinator shuts down, nothing counts against anybody.
        let _ = self.mailbox.tell(event).await;
    }
}

type Waiting = Pin<Box<dyn Stream<Item = Waited> + Send>>;

/// Waits for the turn of a download; the last item has it, the ones before come at an interval.
fn waiting(queued: Queued) -> impl Stream<Item = Waited> + Send {
    let turns = std::sync::Arc::clone(&queued.published.turns);
    let unmeasured = queued.unmeasured;
    // Polled again after each sign of life, so that the download keeps its place in the queue.
    let turn: Pin<Box<dyn Future<Output = Turn> + Send>> =
        Box::pin(async move { turns.take(unmeasured).await });
    stream::unfold(Some((queued, turn)), async |state| {
        let (queued, mut turn) = state?;
        match tokio::time::timeout(queued.interval, turn.as_mut()).await {
            Ok(turn) => {
                queued.excuse().await;
                Some((Waited::Over(turn), None))
            }
            Err(_) => {
                queued.excuse().await;
                Some((Waited::Still, Some((queued, turn))))
            }
        }
    })
}

enum Phase {
    /// The header comes first, so that the worker knows at once whether the weights fit.
    Header(Waiting),
    /// Chunks without data tell the worker that the coordinator is alive.
    Waiting(Waiting),
    /// Chunks and the trailer; the turn ends with the last of them.
    Sending(Option<Turn>),
}

/// The body of a download that waits for its turn after the header.
struct InTurn {
    /// The body as if there were no turns.
    all: Body,
    phase: Phase,
}

impl http_body::Body for InTurn {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let this = &mut *self;
            this.phase = match std::mem::replace(&mut this.phase, Phase::Sending(None)) {
                Phase::Header(waiting) => {
                    this.phase = Phase::Waiting(waiting);
                    return Pin::new(&mut this.all).poll_frame(context);
                }
                Phase::Waiting(mut waiting) => match waiting.as_mut().poll_next(context) {
                    Poll::Ready(Some(Waited::Over(turn))) => Phase::Sending(Some(turn)),
                    Poll::Ready(None) => Phase::Sending(None),
                    Poll::Ready(Some(Waited::Still)) => {
                        this.phase = Phase::Waiting(waiting);
                        return Poll::Ready(Some(Ok(Frame::data(frames::empty_chunk()))));
                    }
                    Poll::Pending => {
                        this.phase = Phase::Waiting(waiting);
                        return Poll::Pending;
                    }
                },
                Phase::Sending(turn) => {
                    this.phase = Phase::Sending(turn);
                    let frame = ready!(Pin::new(&mut this.all).poll_frame(context));
                    // The trailers follow the last bytes, when the connection has taken these.
                    let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
                    if let Phase::Sending(turn) = &mut this.phase
                        && !is_data
                        && let Some(turn) = turn.take()
                    {
                        turn.complete();
                    }
                    return Poll::Ready(frame);
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Sending(_)) && self.all.is_end_stream()
    }
}
