//! Replaces remote files in a build without the feature `remote`: no URL can be allowed, and a job that names one is
//! refused.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::cache::{Cache, Cached};
use super::{Cancellation, DataError};

/// What needs the feature, for errors.
const WHAT: &str = "URLs";
const FEATURE: &str = "remote";

/// Where data files may come from in addition to the data folder, in this build from nowhere, and what is kept of data.
#[derive(Clone, Debug, Default)]
pub struct RemoteData {
    cache: Option<Arc<Cache>>,
}

/// A URL below which files may be read. This build cannot make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix(Infallible);

impl RemoteData {
    /// Ignores the prefixes, as none can be made. The records of indexed data sets are kept in the folder `cache`, which
    /// takes at most `limit` bytes.
    pub fn new(_allowed: Vec<UrlPrefix>, cache: PathBuf, limit: u64) -> Self {
        Self { cache: Some(Arc::new(Cache::new(cache, limit))) }
    }

    /// The cache folder, if there is one.
    pub(super) fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// Refuses the URL that the job has at `key`.
    pub(crate) fn fetch(
        &self,
        _name: &str,
        key: &str,
        _cancellation: &Cancellation,
    ) -> Result<Cached, DataError> {
        Err(DataError::NotBuilt { key: key.to_owned(), what: WHAT, feature: FEATURE })
    }
}

impl FromStr for UrlPrefix {
    type Err = String;

    fn from_str(_text: &str) -> Result<Self, String> {
        Err(DataError::not_built(WHAT, FEATURE))
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests;
