//! Arenas that other threads may still read while the optimizer goes on.

use std::sync::Arc;

use super::blocks::Target;
use crate::arena::Arena;

/// Most arenas that are kept for later use.
const MAX_RETIRED: usize = 4;

/// Arenas of one length that the optimizer has no use for now. Those that somebody still reads are taken
/// again once the reader is done.
#[derive(Debug, Default)]
pub(super) struct Pool {
    retired: Vec<Arc<Arena>>,
}

/// An arena in the course of being rewritten: by nobody seen, from its own old values or from another's.
#[derive(Debug)]
pub(super) struct Writing {
    source: Option<Arc<Arena>>,
    values: Arena,
}

impl Pool {
    /// Rewrites an arena: in place, or, where somebody reads it, into another one.
    pub(super) fn rewrite(&mut self, arena: Arc<Arena>) -> Writing {
        match Arc::try_unwrap(arena) {
            Ok(values) => Writing { source: None, values },
            Err(shared) => {
                let values = self.take(shared.len());
                self.retire(Arc::clone(&shared));
                Writing { source: Some(shared), values }
            }
        }
    }

    /// Writes another arena from the values of one that stays.
    pub(super) fn derive(&mut self, from: &Arc<Arena>) -> Writing {
        Writing { source: Some(Arc::clone(from)), values: self.take(from.len()) }
    }

    /// Keeps an arena for later use.
    pub(super) fn retire(&mut self, arena: Arc<Arena>) {
        if self.retired.len() == MAX_RETIRED {
            self.retired.remove(0);
        }
        self.retired.push(arena);
    }

    fn take(&mut self, len: usize) -> Arena {
        let free = self.retired.iter().position(|arena| Arc::strong_count(arena) == 1);
        free.and_then(|index| Arc::try_unwrap(self.retired.swap_remove(index)).ok())
            .filter(|arena| arena.len() == len)
            .unwrap_or_else(|| Arena::zeros(len))
    }
}

impl Writing {
    /// The arena for a pass.
    pub(super) fn target(&mut self) -> Target<'_> {
        Target::new(self.source.as_ref(), &mut self.values)
    }

    /// The rewritten arena.
    pub(super) fn finish(self) -> Arc<Arena> {
        Arc::new(self.values)
    }
}

#[cfg(test)]
mod tests;
