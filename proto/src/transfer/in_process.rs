//! Transfers of tensors within a process: flat buffers are attached to a call as extensions, and none of their bytes is
//! copied.
//!
//! The calls, their headers and all checks are the same as over the network; only sockets, chunks and copies are left
//! out. Extensions cannot come from outside the process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::Weights;
use tonic::body::Body;
use tonic::codegen::http;
use xxhash_rust::xxh3::Xxh3;

use super::Checksum;

type Answer = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// The tensor service of a coordinator in the same process. Clones share it.
#[derive(Clone)]
pub struct InProcess(Arc<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>);

impl InProcess {
    /// Passes all calls to `service`.
    pub fn new<F: Future<Output = http::Response<Body>> + Send + 'static>(
        service: impl Fn(http::Request<Body>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(service(request))))
    }

    /// Makes a call and returns its response, which carries any error as its status.
    pub async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        (self.0)(request).await
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

/// Extension of a request: two flat buffers, for example a gradient and batch statistics. Clones share them; the first
/// caller of [`Handed::take`] gets them.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<Option<[FlatBuffer; 2]>>>);

impl Handed {
    /// An extension with these flat buffers.
    pub fn new(flat_buffers: [FlatBuffer; 2]) -> Self {
        Self(Arc::new(Mutex::new(Some(flat_buffers))))
    }

    /// Takes the flat buffers; `None` if they have been taken before.
    pub fn take(&self) -> Option<[FlatBuffer; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Extension of a request for weights: the response may carry them as [`SharedWeights`].
#[derive(Clone)]
pub struct ShareWeights;

/// Extension of a response: weights, shared and not copied.
#[derive(Clone)]
pub struct SharedWeights(pub Weights);

/// Elements that are written as bytes at a time.
const GRAIN: usize = 1 << 14;

/// The checksum that a transfer of the two flat buffers would have, with the elements of the first one in `format`. It
/// also covers the bytes of `covered`.
pub fn checksum([first, second]: &[FlatBuffer; 2], format: ExchangeFormat, covered: &[u8]) -> Checksum {
    let mut hasher = Xxh3::new();
    first.chunks(GRAIN).for_each(|values| hasher.update(&format.bytes_of(values)));
    hasher.update(second.as_bytes());
    hasher.update(covered);
    hasher.digest128()
}

#[cfg(test)]
mod tests;
