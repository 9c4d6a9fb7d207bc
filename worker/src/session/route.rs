//! How a worker connects to its coordinator.

use std::future::poll_fn;
use std::time::Duration;

use lookbehind_identity::{Access, Authorize};
use lookbehind_proto::transfer::in_process::InProcess;
use lookbehind_proto::transfer::{FRAME_BYTES, WINDOW_BYTES};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// The endpoint of the coordinator.
pub(super) fn endpoint(access: &Access) -> Endpoint {
    transfers(access.endpoint())
}

/// An endpoint with the settings for transfers of tensors.
pub(super) fn transfers(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(5))
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
}

/// The same endpoint for bulk transfers. They may have nothing to send for a long time, so keep-alives detect a dead
/// connection within twice the failure-detection time.
pub(super) fn watched(endpoint: Endpoint, detection: Duration) -> Endpoint {
    endpoint.http2_keep_alive_interval(detection).keep_alive_timeout(detection).keep_alive_while_idle(true)
}

/// The way in which tensors reach the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// Over a connection of its own, with the credentials of each call.
    Network(Box<Network>),
    /// The coordinator runs in this process.
    InProcess(InProcess),
}

/// A connection to the coordinator, and how another one is opened.
#[derive(Clone, Debug)]
pub(super) struct Network {
    channel: Channel,
    authorize: Authorize,
    access: Access,
    endpoint: Endpoint,
}

impl Route {
    /// A connection that is opened on first use. Must be called within the runtime that serves it.
    pub(super) fn network(access: Access, endpoint: Endpoint, authorize: Authorize) -> Self {
        let channel = access.connect_lazy(&endpoint);
        Self::Network(Box::new(Network { channel, authorize, access, endpoint }))
    }

    /// The same way over another connection, whose calls have this flow-control window in bytes.
    pub(super) fn with_window(&self, window: u32) -> Self {
        match self {
            Self::Network(network) => {
                let Network { authorize, access, endpoint, .. } = network.as_ref().clone();
                Self::network(access, endpoint.initial_stream_window_size(window), authorize)
            }
            Self::InProcess(_) => self.clone(),
        }
    }

    /// Makes a call, and returns its response if the call succeeded.
    pub(super) async fn call(
        &self,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Status> {
        match self {
            Self::Network(network) => {
                network.authorize.put_on(request.headers_mut());
                call(network.channel.clone(), request).await
            }
            Self::InProcess(in_process) => checked(in_process.call(request).await),
        }
    }
}

/// Makes a call over a connection, and returns its response if the call succeeded.
pub(super) async fn call(
    mut channel: Channel,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    checked(channel.call(request).await.map_err(broken)?)
}

/// The response, if it does not say that the call failed.
fn checked(response: http::Response<Body>) -> Result<http::Response<Body>, Status> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ if response.status() != http::StatusCode::OK => {
            Err(Status::unavailable(format!("the answer is HTTP status {}", response.status())))
        }
        _ => Ok(response),
    }
}

/// The status of a call whose connection failed.
fn broken(error: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(error))
}
