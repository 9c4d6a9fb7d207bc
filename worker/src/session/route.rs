//! How a worker reaches its coordinator.

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

/// How the coordinator is reached.
pub(super) fn endpoint(access: &Access) -> Endpoint {
    access
        .endpoint()
        .connect_timeout(Duration::from_secs(5))
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
}

/// The same for bulk transfers, which may have nothing to send for a long time: a connection that is dead is noticed
/// within twice the failure-detection time all the same.
pub(super) fn watched(endpoint: Endpoint, detection: Duration) -> Endpoint {
    endpoint.http2_keep_alive_interval(detection).keep_alive_timeout(detection).keep_alive_while_idle(true)
}

/// How tensors reach the coordinator.
#[derive(Clone)]
pub(super) enum Route {
    /// Over a connection that carries nothing else, with what goes with each call.
    Network(Channel, Authorize),
    /// It runs in this process.
    InProcess(InProcess),
}

impl Route {
    /// Carries out a call, and returns its answer if that is a good one.
    pub(super) async fn call(
        &self,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Status> {
        let response = match self {
            Self::Network(channel, authorize) => {
                let mut channel = channel.clone();
                authorize.put_on(request.headers_mut());
                poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
                channel.call(request).await.map_err(broken)?
            }
            Self::InProcess(in_process) => in_process.call(request).await,
        };
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ if response.status() != http::StatusCode::OK => {
                Err(Status::unavailable(format!("the answer is HTTP status {}", response.status())))
            }
            _ => Ok(response),
        }
    }
}

/// The connection does not carry the call.
fn broken(error: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(error))
}
