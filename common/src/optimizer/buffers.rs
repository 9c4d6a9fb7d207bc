//! Flat buffers that other threads may still read while the optimizer continues.

use std::sync::Arc;

use super::blocks::Target;
use crate::flat_buffer::FlatBuffer;

/// Most flat buffers that a pool keeps for later use.
const MAX_RETIRED: usize = 4;

/// Flat buffers of one length that the optimizer does not use now. One that has readers is reused after its last reader
/// has dropped it.
#[derive(Debug, Default)]
pub(super) struct Pool {
    retired: Vec<Arc<FlatBuffer>>,
}

/// A flat buffer that is being written, starting from its own values or from those of another. It has no readers.
#[derive(Debug)]
pub(super) struct Writing {
    source: Option<Arc<FlatBuffer>>,
    values: FlatBuffer,
}

impl Pool {
    /// Writes a flat buffer in place, or, if it has readers, writes its new values into another one.
    pub(super) fn rewrite(&mut self, flat_buffer: Arc<FlatBuffer>) -> Writing {
        match Arc::try_unwrap(flat_buffer) {
            Ok(values) => Writing { source: None, values },
            Err(shared) => {
                let values = self.take(shared.len());
                self.retire(Arc::clone(&shared));
                Writing { source: Some(shared), values }
            }
        }
    }

    /// Writes another flat buffer, starting from the values of one that stays as it is.
    pub(super) fn derive(&mut self, from: &Arc<FlatBuffer>) -> Writing {
        Writing { source: Some(Arc::clone(from)), values: self.take(from.len()) }
    }

    /// Keeps a flat buffer for later use; if the pool is full, another one is dropped.
    pub(super) fn retire(&mut self, flat_buffer: Arc<FlatBuffer>) {
        if self.retired.len() == MAX_RETIRED {
            self.retired.remove(0);
        }
        self.retired.push(flat_buffer);
    }

    fn take(&mut self, len: usize) -> FlatBuffer {
        let free = self.retired.iter().position(|flat_buffer| Arc::strong_count(flat_buffer) == 1);
        free.and_then(|index| Arc::try_unwrap(self.retired.swap_remove(index)).ok())
            .filter(|flat_buffer| flat_buffer.len() == len)
            .unwrap_or_else(|| FlatBuffer::zeros(len))
    }
}

impl Writing {
    /// The flat buffer as an argument of a kernel.
    pub(super) fn target(&mut self) -> Target<'_> {
        Target::new(self.source.as_ref(), &mut self.values)
    }

    /// The written flat buffer, to be published.
    pub(super) fn finish(self) -> Arc<FlatBuffer> {
        Arc::new(self.values)
    }
}

#[cfg(test)]
mod tests;
