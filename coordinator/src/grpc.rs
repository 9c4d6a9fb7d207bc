//! The gRPC services. They only translate between messages and the events of the state machine.

mod call_origin;
pub(crate) mod callers;
mod connections;
mod door;
mod download;
mod files;
mod gate;
mod initial;
mod job_service;
mod limits;
pub(crate) mod listing;
mod tensor_service;
mod uploads;
pub(crate) mod views;
pub(crate) mod watch;
mod worker_service;

use std::sync::Arc;

use lookbehind_proto::FILE_DESCRIPTOR_SET;
use lookbehind_proto::transfer::{FRAME_BYTES, WINDOW_BYTES};
use lookbehind_proto::v1::job_service_server::JobServiceServer;
use lookbehind_proto::v1::worker_service_server::WorkerServiceServer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Server;

use crate::runtime::{Ended, Shared};
use callers::Guard;
use connections::Acceptor;
use gate::Gate;
use job_service::JobServiceImpl;
use tensor_service::TensorServer;
pub(crate) use tensor_service::in_process;
use worker_service::WorkerServiceImpl;

/// Largest number of concurrent calls over one connection.
const MAX_STREAMS: u32 = 256;

/// Configuration of the gRPC listener.
pub(crate) struct ListenerConfig {
    /// The socket on which the services listen.
    pub(crate) listener: TcpListener,
    /// The coordinator's credentials, and the credentials that callers must have.
    pub(crate) guard: Guard,
    /// Whether the reflection service is offered.
    pub(crate) reflection: bool,
    /// Largest number of concurrent connections.
    pub(crate) connections: usize,
}

/// Why the services are not served any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error("its tasks on the threads for strangers: {0}")]
    Ended(#[from] JoinError),
}

/// Serves all services on one listener until `end` is cancelled: workers that show a certificate in the present runtime,
/// all others on the threads of `strangers`.
pub(crate) async fn serve(
    listener_config: ListenerConfig,
    shared: Shared,
    strangers: Handle,
    end: CancellationToken,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<JobServiceServer<JobServiceImpl>>().await;
    health.set_serving::<WorkerServiceServer<WorkerServiceImpl>>().await;
    health.set_serving::<TensorServer>().await;
    let reflection = || {
        listener_config.reflection.then(|| {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        })
    };
    let v1 = reflection().and_then(|builder| described(builder.build_v1()));
    let v1alpha = reflection().and_then(|builder| described(builder.build_v1alpha()));
    let patience = shared.transfer_idle;
    let longest_wait = shared.failure_detection;
    let gate = Gate::new(listener_config.guard.clone(), patience, longest_wait, Arc::clone(&shared.observer));
    let acceptor = Acceptor::new(
        listener_config.listener,
        listener_config.guard,
        listener_config.connections,
        (patience, longest_wait),
        Arc::clone(&shared.observer),
    );
    // The gate refuses what is too large, before it is decoded.
    let jobs =
        JobServiceServer::new(JobServiceImpl::new(shared.clone())).max_decoding_message_size(usize::MAX);
    let workers =
        WorkerServiceServer::new(WorkerServiceImpl(shared.clone())).max_decoding_message_size(usize::MAX);
    let router = Server::builder()
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        // The slot of a connection must become free when its machine has vanished.
        .http2_keepalive_interval(Some(patience))
        .http2_keepalive_timeout(Some(patience))
        .layer(gate)
        .add_service(health_service)
        .add_optional_service(v1)
        .add_optional_service(v1alpha)
        .add_service(jobs)
        .add_service(workers)
        .add_service(TensorServer(shared));
    let connections = acceptor.connections(&strangers);
    let of_workers =
        router.clone().serve_with_incoming_shutdown(connections.workers, end.clone().cancelled_owned());
    let of_others = router.serve_with_incoming_shutdown(connections.others, end.cancelled_owned());
    let of_others = strangers.spawn(of_others);
    tokio::try_join!(async { Ok::<_, ServeError>(of_workers.await?) }, async { Ok(of_others.await??) })?;
    Ok(())
}

/// The reflection service. If it cannot be built, the error is logged and the other services start without it.
fn described<S>(built: Result<S, tonic_reflection::server::Error>) -> Option<S> {
    built.inspect_err(|error| tracing::error!(%error, "internal error: reflection is not served")).ok()
}

impl From<Ended> for Status {
    fn from(ended: Ended) -> Self {
        Status::unavailable(ended.to_string())
    }
}

/// The state machine answered with the wrong kind of reply, which is a defect of the coordinator.
fn unexpected() -> Status {
    Status::internal("the coordinator gave an answer of the wrong kind")
}
