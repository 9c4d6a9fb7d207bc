//! FlatBuffers that other threads may still read while the optimizer goes on.

use std::sync::Arc;

use super::blocks::Target;
use crate::flat_buffer::FlatBuffer;

/// Most flat buffers that are kept for later use.
const MAX_RETIRED: usize = 4;

/// FlatBuffers of one length that the optimizer has no use for now. Those that somebody still reads are taken
/// again once the reader is done.
#[derive(Debug, Default)]
pub(super) struct Pool {
    retired: Vec<Arc<FlatBuffer>>,
}

/// A flat buffer in the course of being rewritten: by nobody seen, from its own old values or from another's.
#[derive(Debug)]
pub(super) struct Writing {
    source: Option<Arc<FlatBuffer>>,
    values: FlatBuffer,
}

impl Pool {
    /// Rewrites a flat buffer: in place, or, where somebody reads it, into another one.
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

    /// Writes another flat buffer from the values of one that stays.
    pub(super) fn derive(&mut self, from: &Arc<FlatBuffer>) -> Writing {
        Writing { source: Some(Arc::clone(from)), values: self.take(from.len()) }
    }

    /// Keeps a flat buffer for later use.
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
    /// The flat buffer for a pass.
    pub(super) fn target(&mut self) -> Target<'_> {
        Target::new(self.source.as_ref(), &mut self.values)
    }

    /// The rewritten flat buffer.
    pub(super) fn finish(self) -> Arc<FlatBuffer> {
        Arc::new(self.values)
    }
}

#[cfg(test)]
mod tests;
