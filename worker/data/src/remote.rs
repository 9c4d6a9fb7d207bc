//! Data files in object stores and on HTTP servers: only below URL prefixes that the worker's operator allows, through
//! the cache.

mod prefix;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::job::JobError;

use super::cache::{Cache, Cached};
use super::{Cancellation, DataError, FileProblem};
pub use prefix::UrlPrefix;

/// Where data files may come from in addition to the data folder, by default from nowhere, and what is kept of data.
#[derive(Clone, Debug, Default)]
pub struct RemoteData {
    allowed: Vec<UrlPrefix>,
    cache: Option<Arc<Cache>>,
}

impl RemoteData {
    /// Allows URLs below the prefixes; their files, and the records of indexed data sets, are kept in the folder `cache`,
    /// which takes at most `limit` bytes.
    pub fn new(allowed: Vec<UrlPrefix>, cache: PathBuf, limit: u64) -> Self {
        Self { allowed, cache: Some(Arc::new(Cache::new(cache, limit))) }
    }

    /// The cache folder, if there is one.
    pub(super) fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// Fetches the file that a job names by a URL at `key`, unless the cache has it.
    pub(super) fn fetch(
        &self,
        name: &str,
        key: &str,
        cancellation: &Cancellation,
    ) -> Result<Cached, DataError> {
        let url = prefix::parse(name).map_err(|problem| JobError::new(key, &problem))?;
        let in_file = |problem| DataError::File { file: name.to_owned(), problem };
        let allowed = self.allowed.iter().any(|prefix| prefix.covers(&url));
        let Some(cache) = self.cache.as_ref().filter(|_| allowed) else {
            let allowed: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            return Err(in_file(FileProblem::NotAllowed { allowed }));
        };
        // On its own thread: the caller may run in an async runtime, where another one must not block.
        let fetched = std::thread::scope(|scope| {
            let fetch = || store::fetch(&url, &self.allowed, cache, cancellation);
            scope.spawn(fetch).join().unwrap_or_else(|_| Err("its reader panicked".to_owned()))
        });
        fetched.map_err(|reason| match cancellation.is_cancelled() {
            true => DataError::Cancelled,
            false => in_file(FileProblem::Fetch { reason }),
        })
    }
}

#[cfg(test)]
mod tests;
