//! Flat f32 storage: all parameters of a model (or its running statistics, or a gradient) in one array.

mod pool;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

pub use pool::FlatBufferPool;

/// The values of all tensors of one kind, in the order of the layout. Its bytes in memory are those on the wire and in
/// files. When it is dropped, its memory returns to the [`FlatBufferPool`] that lent it, if any.
#[derive(Debug, Default)]
pub struct FlatBuffer {
    values: Vec<f32>,
    /// Where the memory returns on drop; `None` if it was not lent by a pool.
    home: Option<Arc<pool::Shelf>>,
}

#[cfg(target_endian = "big")]
compile_error!("flat buffers are sent and stored as they lie in memory, which must be little-endian");

impl FlatBuffer {
    /// A flat buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self::from(vec![0.0; len])
    }

    /// The values as little-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }

    /// The values as writable little-endian bytes.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.values)
    }
}

impl From<Vec<f32>> for FlatBuffer {
    fn from(values: Vec<f32>) -> Self {
        Self { values, home: None }
    }
}

impl Clone for FlatBuffer {
    fn clone(&self) -> Self {
        Self::from(self.values.clone())
    }
}

impl PartialEq for FlatBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Drop for FlatBuffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.put(std::mem::take(&mut self.values));
        }
    }
}

impl Deref for FlatBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for FlatBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// Shares the bytes of a flat buffer without copying them. The flat buffer lives until the last slice is dropped.
pub fn shared_bytes(flat_buffer: &Arc<FlatBuffer>) -> Bytes {
    struct Owner(Arc<FlatBuffer>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Owner(Arc::clone(flat_buffer)))
}
