//! What loading a data set may take: memory up to the worker's limit, and time only as long as the job is wanted. Every
//! reader gets a [`Loading`]. It charges bytes there before it allocates them, and asks there between its steps whether
//! loading has been cancelled.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::cache::Cache;
use super::source::Source;
use super::{DataEnvironment, DataError, NewSamples};

/// Bytes that loading may have in use in addition to the memory limit, for what it needs only meanwhile: buffers,
/// decoders, names. What needs more takes it out of the limit itself.
pub const WORKING_MEMORY: u64 = 32 << 20;
/// Most bytes that are read, or decompressed, between two questions whether loading has been cancelled.
const PIECE: usize = 1 << 20;

/// Whether the loading of a data set has been cancelled. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Cancels for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been cancelled. Relaxed ordering suffices: no other memory depends on the answer.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The error of a reader whose loading has been cancelled.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("loading was cancelled")]
pub(crate) struct Cancelled;

impl Cancelled {
    /// Whether an error of a reader means this.
    pub(crate) fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

impl From<Cancelled> for DataError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// The loading of one data set. Clones share the account.
#[derive(Clone, Debug)]
pub(crate) struct Loading(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    cancellation: Cancellation,
    new_samples: Option<NewSamples>,
    cache: Option<Arc<Cache>>,
    bytes: Mutex<Bytes>,
    /// Bytes of a decoder were given back.
    returned: Condvar,
}

/// Bytes in use.
#[derive(Debug, Default)]
struct Bytes {
    /// What stays: the samples.
    kept: u64,
    /// What is needed only meanwhile.
    lent: u64,
    /// The part of `lent` that parallel decoders have, who wait for each other.
    in_turn: u64,
}

/// Bytes that are needed only meanwhile; they are given back on drop.
#[derive(Debug)]
pub(crate) struct Lent {
    account: Arc<Account>,
    bytes: u64,
    in_turn: bool,
}

impl Loading {
    pub(crate) fn new(environment: &DataEnvironment) -> Self {
        Self(Arc::new(Account {
            // So that all numbers of bytes within the limit are lengths that memory can have.
            limit: environment.memory_limit.min(isize::MAX as u64),
            cancellation: environment.cancellation.clone(),
            new_samples: environment.new_samples.clone(),
            cache: environment.remote.cache().cloned(),
            bytes: Mutex::default(),
            returned: Condvar::new(),
        }))
    }

    /// What reading the samples of this data set may take once it is loaded: the memory that is left, and nobody cancels
    /// it.
    pub(crate) fn for_reading(&self) -> Self {
        let kept = self.0.bytes().kept;
        Self(Arc::new(Account {
            limit: self.0.limit,
            cancellation: Cancellation::default(),
            new_samples: None,
            cache: None,
            bytes: Mutex::new(Bytes { kept, ..Bytes::default() }),
            returned: Condvar::new(),
        }))
    }

    /// The cache folder, if there is one.
    pub(crate) fn cache(&self) -> Option<&Arc<Cache>> {
        self.0.cache.as_ref()
    }

    /// Whether other files take the place of the test split.
    pub(crate) fn has_new_samples(&self) -> bool {
        self.0.new_samples.is_some()
    }

    /// Most bytes that the samples may take.
    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    /// The files that take the place of the test split; `None` if the data set has its own.
    pub(crate) fn new_samples(&self) -> Option<Vec<Source>> {
        Some(self.0.new_samples.as_ref()?.take().map(Source::of_path).collect())
    }

    /// Fails if loading has been cancelled.
    pub(crate) fn check(&self) -> Result<(), Cancelled> {
        if self.0.cancellation.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Refuses bytes that exceed the limit together with the samples so far.
    pub(crate) fn has_room_for(&self, bytes: u64) -> Result<(), DataError> {
        let needed = self.0.bytes().kept.saturating_add(bytes);
        if needed <= self.0.limit { Ok(()) } else { Err(self.0.refused(needed)) }
    }

    /// Charges bytes of samples, which stay, or refuses them.
    pub(crate) fn keep(&self, bytes: u64) -> Result<(), DataError> {
        self.has_room_for(bytes)?;
        let mut now = self.0.bytes();
        self.0.check_all(&now, bytes)?;
        now.kept += bytes;
        Ok(())
    }

    /// Charges bytes that are needed only meanwhile, or refuses them.
    pub(crate) fn lend(&self, bytes: u64) -> Result<Lent, DataError> {
        let mut lent = Lent { account: Arc::clone(&self.0), bytes: 0, in_turn: false };
        lent.grow(bytes)?;
        Ok(lent)
    }

    /// Charges the bytes of one of several decoders in parallel. It waits until others have given back enough, so that
    /// their number decides nothing, and refuses only what would not fit if it were alone. A decoder that has such
    /// bytes must not ask for more.
    pub(crate) fn lend_in_turn(&self, bytes: u64) -> Result<Lent, DataError> {
        let account = &self.0;
        let mut now = account.bytes();
        loop {
            self.check()?;
            let alone = now.kept.saturating_add(now.lent - now.in_turn).saturating_add(bytes);
            if alone > account.most() {
                return Err(account.refused(alone));
            }
            if account.check_all(&now, bytes).is_ok() {
                now.lent += bytes;
                now.in_turn += bytes;
                return Ok(Lent { account: Arc::clone(account), bytes, in_turn: true });
            }
            now = account.returned.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A reader that fails once loading is cancelled.
    pub(crate) fn watch<R>(&self, inner: R) -> Watched<R> {
        Watched { inner, loading: self.clone() }
    }
}

impl Account {
    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        // No code panics while it holds the lock, so the numbers are consistent.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most bytes of everything together.
    fn most(&self) -> u64 {
        self.limit.saturating_add(WORKING_MEMORY)
    }

    fn refused(&self, needed: u64) -> DataError {
        DataError::Memory { needed, limit: self.limit }
    }

    fn check_all(&self, now: &Bytes, bytes: u64) -> Result<(), DataError> {
        let needed = now.kept.saturating_add(now.lent).saturating_add(bytes);
        if needed <= self.most() { Ok(()) } else { Err(self.refused(needed)) }
    }
}

impl Lent {
    /// Charges further bytes, or refuses them.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), DataError> {
        let mut now = self.account.bytes();
        self.account.check_all(&now, bytes)?;
        now.lent += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but `bytes`, if there are more.
    #[cfg(feature = "parquet")]
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.account.bytes().lent -= back;
        self.bytes -= back;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut now = self.account.bytes();
        now.lent -= self.bytes;
        if self.in_turn {
            now.in_turn -= self.bytes;
            self.account.returned.notify_all();
        }
    }
}

/// A reader that asks before each piece whether loading has been cancelled.
#[derive(Debug)]
pub(crate) struct Watched<R> {
    inner: R,
    loading: Loading,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.loading.check().map_err(io::Error::other)?;
        let most = buffer.len().min(PIECE);
        self.inner.read(&mut buffer[..most])
    }
}

impl<R: Seek> Seek for Watched<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests;
