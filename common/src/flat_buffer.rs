//! Flat f32 storage: all parameters of a model (or its running statistics, or a gradient) in one array.

mod pool;

use std::borrow::Cow;
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

/// Values as writable little-endian bytes.
pub fn bytes_mut(values: &mut [f32]) -> &mut [u8] {
    bytemuck::cast_slice_mut(values)
}

/// The values whose little-endian bytes these are. Nothing is copied if the bytes are those of a flat buffer, from a whole
/// element on; bytes of a last element that is not whole are left out.
pub fn values_of(bytes: &[u8]) -> Cow<'_, [f32]> {
    let bytes = &bytes[..bytes.len() - bytes.len() % size_of::<f32>()];
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => Cow::Borrowed(values),
        // They do not lie where a value may begin.
        Err(_) => Cow::Owned(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()),
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
