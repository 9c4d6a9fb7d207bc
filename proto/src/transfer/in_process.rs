//! Tensors that change hands within a process: they travel beside a call's body, and none of their bytes are copied.
//!
//! The calls, their headers and all that is checked are those of the network; only sockets, chunks and copies are left
//! out. What lies beside a body cannot come from outside the process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_common::flat_buffer::FlatBuffer;
use tonic::body::Body;
use tonic::codegen::http;
use xxhash_rust::xxh3::Xxh3;

use super::Checksum;

type Answer = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// The tensor service of a coordinator in this process.
#[derive(Clone)]
pub struct InProcess(Arc<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>);

impl InProcess {
    /// Calls go to `service`.
    pub fn new<F: Future<Output = http::Response<Body>> + Send + 'static>(
        service: impl Fn(http::Request<Body>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(service(request))))
    }

    /// Carries out a call.
    pub async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        (self.0)(request).await
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

/// Two flat buffers beside a request, a gradient and statistics for example: whoever takes them owns them.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<Option<[FlatBuffer; 2]>>>);

impl Handed {
    /// Hands flat buffers over.
    pub fn new(flat_buffers: [FlatBuffer; 2]) -> Self {
        Self(Arc::new(Mutex::new(Some(flat_buffers))))
    }

    /// The flat buffers, once.
    pub fn take(&self) -> Option<[FlatBuffer; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Beside a request for weights: the answer may have them beside its body, too.
#[derive(Clone)]
pub struct ShareWeights;

/// Parameters and statistics beside an answer.
#[derive(Clone)]
pub struct SharedWeights(pub Arc<FlatBuffer>, pub Arc<FlatBuffer>);

/// The checksum that a transfer of the two flat buffers would end with; `covered` are further bytes that it covers.
pub fn checksum(flat_buffers: &[FlatBuffer; 2], covered: &[u8]) -> Checksum {
    let mut hasher = Xxh3::new();
    flat_buffers.iter().for_each(|flat_buffer| hasher.update(flat_buffer.as_bytes()));
    hasher.update(covered);
    hasher.digest128()
}

#[cfg(test)]
mod tests;
