//! Memory of flat buffers that is used again: the page faults of fresh memory cost more than the transfer that fills it.

use std::sync::{Arc, Mutex, PoisonError};

use super::FlatBuffer;

/// Lends flat buffers and takes their memory back when they are dropped. Clones share it; the memory is freed with the
/// last of them.
#[derive(Clone, Debug)]
pub struct FlatBufferPool(Arc<Shelf>);

/// Memory that nobody uses now.
#[derive(Debug)]
pub(super) struct Shelf {
    idle: Mutex<Vec<Vec<f32>>>,
    most: usize,
}

impl FlatBufferPool {
    /// Keeps the memory of at most `most` flat buffers that nobody uses.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shelf { idle: Mutex::default(), most }))
    }

    /// A flat buffer of `len` numbers to be overwritten: what they are now is left over from an earlier use.
    pub fn lend(&self, len: usize) -> FlatBuffer {
        let numbers = self.0.take(len).unwrap_or_else(|| vec![0.0; len]);
        FlatBuffer { numbers, home: Some(Arc::clone(&self.0)) }
    }
}

impl Shelf {
    fn take(&self, len: usize) -> Option<Vec<f32>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let index = idle.iter().position(|numbers| numbers.len() == len)?;
        Some(idle.swap_remove(index))
    }

    /// Takes memory back. Where there is no room, other lengths go first: they may never be asked for again.
    pub(super) fn put(&self, numbers: Vec<f32>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= self.most {
            let Some(index) = idle.iter().position(|other| other.len() != numbers.len()) else { return };
            idle.swap_remove(index);
        }
        idle.push(numbers);
    }
}

#[cfg(test)]
mod tests;
