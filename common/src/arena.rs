//! Flat f32 storage: all parameters (or statistics, or a gradient) of a model, one after the other.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

/// All numbers of one kind in a layout's order. Cheap to slice, and on little-endian machines its bytes are
/// what goes over the wire and into files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arena(Vec<f32>);

#[cfg(target_endian = "big")]
compile_error!("arenas are sent and stored as they lie in memory, which must be little-endian");

impl Arena {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self(vec![0.0; len])
    }

    /// The numbers as little-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// The numbers as writable little-endian bytes.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl From<Vec<f32>> for Arena {
    fn from(values: Vec<f32>) -> Self {
        Self(values)
    }
}

impl Deref for Arena {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// Shares an arena's bytes without copying them; the arena lives until the last slice is dropped.
pub fn shared_bytes(arena: &Arc<Arena>) -> Bytes {
    struct Owner(Arc<Arena>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Owner(Arc::clone(arena)))
}
