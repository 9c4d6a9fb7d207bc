//! Calls that are begun and not completed, and how they end.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Sends all of a request's message of `bytes` bytes but its last one, and waits for the end of the call.
///
/// # Panics
/// If the path is not valid.
pub async fn unfinished(mut channel: Channel, path: &str, bytes: u32) -> Code {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Status>>(1);
    let body = Body::new(StreamBody::new(ReceiverStream::new(receiver)));
    let request = http::Request::post(format!("https://coordinator{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    if let Err(error) = std::future::poll_fn(|context| channel.poll_ready(context)).await {
        return Status::from_error(error.into()).code();
    }
    let answer = channel.call(request);
    let sending = async {
        let prefix = [&[0][..], &bytes.to_be_bytes()].concat();
        let mut parts = vec![Bytes::from(prefix)];
        let mut left = bytes as usize - 1;
        while left > 0 {
            let part = left.min(16 << 10);
            parts.push(Bytes::from(vec![0; part]));
            left -= part;
        }
        for part in parts {
            if sender.send(Ok(Frame::data(part))).await.is_err() {
                return;
            }
        }
        sender.closed().await;
    };
    let (answer, ()) = tokio::join!(answer, sending);
    ended(answer).await
}

/// How a call ended.
pub async fn ended(answer: Result<http::Response<Body>, tonic::transport::Error>) -> Code {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Status::from_error(error.into()).code(),
    };
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await.map(|all| all.trailers().cloned().unwrap_or_default());
    let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers.ok()?));
    status.map_or(Code::Unknown, |status| status.code())
}
