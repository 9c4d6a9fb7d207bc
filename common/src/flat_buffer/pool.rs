//! Reuses the memory of flat buffers, because the page faults of new memory cost more than the transfer that fills it.

use std::sync::{Arc, Mutex, PoisonError};

use super::FlatBuffer;

/// Lends flat buffers and takes their memory back when they are dropped. Clones share one pool. Idle memory is freed
/// when the last clone and the last lent flat buffer are dropped.
#[derive(Clone, Debug)]
pub struct FlatBufferPool(Arc<Shelf>);

/// Memory that is not in use now.
#[derive(Debug)]
pub(super) struct Shelf {
    idle: Mutex<Vec<Vec<f32>>>,
    most: usize,
}

impl FlatBufferPool {
    /// A pool that keeps the memory of at most `most` idle flat buffers.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shelf { idle: Mutex::default(), most }))
    }

    /// A flat buffer of `len` elements, which the caller must overwrite: they may hold the values of an earlier use.
    pub fn lend(&self, len: usize) -> FlatBuffer {
        let values = self.0.take(len).unwrap_or_else(|| vec![0.0; len]);
        FlatBuffer { values, home: Some(Arc::clone(&self.0)) }
    }
}

impl Shelf {
    fn take(&self, len: usize) -> Option<Vec<f32>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let index = idle.iter().position(|values| values.len() == len)?;
        Some(idle.swap_remove(index))
    }

    /// Takes memory back. If the pool is full, memory of another length is freed first, since it may never be asked for
    /// again.
    pub(super) fn put(&self, values: Vec<f32>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= self.most {
            let Some(index) = idle.iter().position(|other| other.len() != values.len()) else { return };
            idle.swap_remove(index);
        }
        idle.push(values);
    }
}

#[cfg(test)]
mod tests;
