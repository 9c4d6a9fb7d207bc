//! The gRPC services: translation between the wire and the state machine's events, nothing else.

mod files;
mod job_service;
mod limits;
mod tensor_service;
mod views;
mod watch;
mod worker_service;

use std::future::Future;

use futures_util::StreamExt;
use lookbehind_common::proto::FILE_DESCRIPTOR_SET;
use lookbehind_common::proto::v1::job_service_server::JobServiceServer;
use lookbehind_common::proto::v1::worker_service_server::WorkerServiceServer;
use lookbehind_common::transfer::{FRAME_BYTES, WINDOW_BYTES};
use tonic::Status;
use tonic::service::InterceptorLayer;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::runtime::{Ended, Shared};
use job_service::JobServiceImpl;
use limits::Connections;
use tensor_service::TensorServer;
pub(crate) use tensor_service::in_process;
use worker_service::WorkerServiceImpl;

/// Largest control message: a description of a model with tens of thousands of tensors.
const MAX_CONTROL_BYTES: usize = 4 << 20;
/// Calls that one connection may have open at once.
const MAX_STREAMS: u32 = 256;

/// Serves all services on one listener until `end` resolves.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    shared: Shared,
    end: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<JobServiceServer<JobServiceImpl>>().await;
    health.set_serving::<WorkerServiceServer<WorkerServiceImpl>>().await;
    health.set_serving::<TensorServer>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let jobs = JobServiceServer::new(JobServiceImpl::new(shared.clone()))
        .max_decoding_message_size(MAX_CONTROL_BYTES);
    let workers = WorkerServiceServer::new(WorkerServiceImpl(shared.clone()))
        .max_decoding_message_size(MAX_CONTROL_BYTES);
    let tensors = TensorServer(shared.clone());
    // Small messages must not wait for the acknowledgement of the ones before.
    let connections = Connections::new(shared.max_connections);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).filter_map(move |stream| {
        std::future::ready(stream.map(|stream| connections.take(stream)).transpose())
    });
    Server::builder()
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .layer(InterceptorLayer::new(limits::check_connection))
        .add_service(health_service)
        .add_optional_service(reflection().build_v1().ok())
        .add_optional_service(reflection().build_v1alpha().ok())
        .add_service(InterceptedService::new(jobs, limits::check_rate))
        .add_service(workers)
        .add_service(tensors)
        .serve_with_incoming_shutdown(incoming, end)
        .await
}

impl From<Ended> for Status {
    fn from(ended: Ended) -> Self {
        Status::unavailable(ended.to_string())
    }
}

/// The answer was of another kind than the question: a defect of the coordinator.
fn unexpected() -> Status {
    Status::internal("the coordinator gave an answer of the wrong kind")
}
