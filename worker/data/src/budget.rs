//! The limit of the bytes that a data set may take in memory.

use super::DataError;

/// A limit, and how much of it is taken.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    taken: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, taken: 0 }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Refuses bytes that exceed the limit together with those that are taken already.
    pub(super) fn has_room_for(&self, bytes: u64) -> Result<(), DataError> {
        let needed = self.taken.saturating_add(bytes);
        if needed <= self.limit { Ok(()) } else { Err(DataError::Memory { needed, limit: self.limit }) }
    }

    /// Takes bytes from what is left, or refuses them.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), DataError> {
        self.has_room_for(bytes)?;
        self.taken += bytes;
        Ok(())
    }
}
