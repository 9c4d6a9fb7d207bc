//! The bytes that a data set may take in memory.

use super::DataError;

/// What is taken of a limit.
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

    /// Refuses what is beyond the limit together with what is taken already.
    pub(super) fn has_room_for(&self, bytes: u64) -> Result<(), DataError> {
        let needed = self.taken.saturating_add(bytes);
        if needed <= self.limit { Ok(()) } else { Err(DataError::Memory { needed, limit: self.limit }) }
    }

    /// Takes some bytes of what is left.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), DataError> {
        self.has_room_for(bytes)?;
        self.taken += bytes;
        Ok(())
    }
}
