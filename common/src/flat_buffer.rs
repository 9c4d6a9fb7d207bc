//! Flat f32 storage: all parameters (or statistics, or a gradient) of a model, one after the other.

mod pool;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

pub use pool::FlatBufferPool;

/// All numbers of one kind in a layout's order. Cheap to slice, and on little-endian machines its bytes are
/// what goes over the wire and into files.
#[derive(Debug, Default)]
pub struct FlatBuffer {
    numbers: Vec<f32>,
    /// Where the memory goes in the end, if it is lent.
    home: Option<Arc<pool::Shelf>>,
}

#[cfg(target_endian = "big")]
compile_error!("flat buffers are sent and stored as they lie in memory, which must be little-endian");

impl FlatBuffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self::from(vec![0.0; len])
    }

    /// The numbers as little-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.numbers)
    }

    /// The numbers as writable little-endian bytes.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.numbers)
    }
}

impl From<Vec<f32>> for FlatBuffer {
    fn from(values: Vec<f32>) -> Self {
        Self { numbers: values, home: None }
    }
}

impl Clone for FlatBuffer {
    fn clone(&self) -> Self {
        Self::from(self.numbers.clone())
    }
}

impl PartialEq for FlatBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Drop for FlatBuffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.put(std::mem::take(&mut self.numbers));
        }
    }
}

impl Deref for FlatBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers
    }
}

impl DerefMut for FlatBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers
    }
}

/// Shares a flat buffer's bytes without copying them; the flat buffer lives until the last slice is dropped.
pub fn shared_bytes(flat_buffer: &Arc<FlatBuffer>) -> Bytes {
    struct Owner(Arc<FlatBuffer>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Owner(Arc::clone(flat_buffer)))
}
