//! A relay between a worker and its coordinator that changes what the worker says and sends: to the coordinator, the worker
//! behind it is one that lies.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lookbehind_proto::transfer::RunningChecksum;
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_client::TensorServiceClient;
use lookbehind_proto::v1::tensor_service_server::{TensorService, TensorServiceServer};
use lookbehind_proto::v1::upload_blocks_request::Part;
use lookbehind_proto::v1::worker_service_client::WorkerServiceClient;
use lookbehind_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use lookbehind_proto::v1::{UploadPartialResponse, session_request};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// How a worker lies; the default methods tell the truth.
pub trait Lies: Send + Sync + 'static {
    /// Changes a message of the control stream.
    fn message(&self, _message: &mut session_request::Message) {}

    /// Changes bytes of blocks of a segment. Those of the segment of all shards are the sum of a range that the worker owns.
    fn blocks(&self, _segment: v1::Segment, _bytes: &mut [u8]) {}
}

/// A relay to one coordinator. Dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    _end: DropGuard,
}

impl Relay {
    /// Starts a relay to the coordinator at a URL in plain text.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(coordinator: &str, lies: impl Lies) -> Self {
        let endpoint = Endpoint::from_shared(coordinator.to_owned()).expect("an address");
        let service = Relaying { channel: endpoint.connect_lazy(), lies: Arc::new(lies) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let end = CancellationToken::new();
        let router = Server::builder()
            .add_service(WorkerServiceServer::new(service.clone()))
            .add_service(TensorServiceServer::new(service));
        let ended = end.clone().cancelled_owned();
        tokio::spawn(router.serve_with_incoming_shutdown(TcpIncoming::from(listener), ended));
        Self { address, _end: end.drop_guard() }
    }

    /// The URL at which the worker finds its coordinator.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Clone)]
struct Relaying {
    channel: Channel,
    lies: Arc<dyn Lies>,
}

type Passing<T> = BoxStream<'static, Result<T, Status>>;

impl Relaying {
    fn tensors(&self) -> TensorServiceClient<Channel> {
        TensorServiceClient::new(self.channel.clone())
    }
}

/// The messages of a stream, changed, up to its end or its first error, which the other side sees as the end of the call.
fn passed_on<T: Send + 'static>(
    mut stream: Streaming<T>,
    mut change: impl FnMut(T) -> T + Send + 'static,
) -> ReceiverStream<T> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            if sender.send(change(message)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

#[tonic::async_trait]
impl WorkerService for Relaying {
    type SessionStream = Passing<v1::SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let lies = Arc::clone(&self.lies);
        let messages = passed_on(request.into_inner(), move |mut request: v1::SessionRequest| {
            if let Some(message) = &mut request.message {
                lies.message(message);
            }
            request
        });
        let session = WorkerServiceClient::new(self.channel.clone()).session(messages).await?;
        Ok(session.map(StreamExt::boxed))
    }
}

#[tonic::async_trait]
impl TensorService for Relaying {
    type DownloadWeightsStream = Passing<v1::DownloadWeightsResponse>;

    async fn download_weights(
        &self,
        request: Request<v1::DownloadWeightsRequest>,
    ) -> Result<Response<Self::DownloadWeightsStream>, Status> {
        let weights = self.tensors().download_weights(request.into_inner()).await?;
        Ok(weights.map(StreamExt::boxed))
    }

    async fn upload_partial(
        &self,
        request: Request<Streaming<v1::UploadPartialRequest>>,
    ) -> Result<Response<UploadPartialResponse>, Status> {
        self.tensors().upload_partial(passed_on(request.into_inner(), |request| request)).await
    }

    async fn upload_blocks(
        &self,
        request: Request<Streaming<v1::UploadBlocksRequest>>,
    ) -> Result<Response<UploadPartialResponse>, Status> {
        let mut blocks =
            Blocks { lies: Arc::clone(&self.lies), segment: None, checksum: RunningChecksum::default() };
        let parts = passed_on(request.into_inner(), move |request| blocks.changed(request));
        self.tensors().upload_blocks(parts).await
    }

    async fn upload_initial_state(
        &self,
        request: Request<Streaming<v1::UploadInitialStateRequest>>,
    ) -> Result<Response<v1::UploadInitialStateResponse>, Status> {
        self.tensors().upload_initial_state(passed_on(request.into_inner(), |request| request)).await
    }
}

/// An upload of blocks that passes through.
struct Blocks {
    lies: Arc<dyn Lies>,
    segment: Option<v1::Segment>,
    checksum: RunningChecksum,
}

impl Blocks {
    fn changed(&mut self, request: v1::UploadBlocksRequest) -> v1::UploadBlocksRequest {
        let part = request.part.map(|part| match part {
            Part::Header(header) => {
                self.segment = header.segment;
                Part::Header(header)
            }
            Part::Chunk(v1::Chunk { offset, data }) => {
                let mut bytes = data.to_vec();
                if let Some(segment) = self.segment {
                    self.lies.blocks(segment, &mut bytes);
                }
                self.checksum.cover(offset, &bytes);
                Part::Chunk(v1::Chunk { offset, data: Bytes::from(bytes) })
            }
            Part::Trailer(_) => Part::Trailer(self.checksum.trailer(&[])),
        });
        v1::UploadBlocksRequest { part }
    }
}
