//! Replaces remote files in a build without the feature `remote`: no URL can be allowed, and a job that names one is
//! refused.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Cancellation, DataError};

/// What needs the feature, for errors.
const WHAT: &str = "URLs";
const FEATURE: &str = "remote";

/// Where data files may come from in addition to the data folder: in this build from nowhere.
#[derive(Clone, Debug, Default)]
pub struct RemoteData {}

/// A URL below which files may be read. This build cannot make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix(Infallible);

/// A remote file. This build cannot make one.
#[derive(Debug)]
pub(crate) struct Cached(Infallible);

impl Cached {
    pub(crate) fn path(&self) -> &Path {
        match self.0 {}
    }
}

impl RemoteData {
    /// Ignores its arguments: no prefix can be made, so nothing is allowed.
    pub fn new(_allowed: Vec<UrlPrefix>, _cache: PathBuf, _limit: u64) -> Self {
        Self {}
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
