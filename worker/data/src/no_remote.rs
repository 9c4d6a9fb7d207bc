//! What stands for files from elsewhere in a build without the feature `remote`: nothing can be allowed, and a URL is
//! refused where it stands.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::DataError;

/// What needs the feature, for errors.
const WHAT: &str = "URLs";
/// The feature.
const FEATURE: &str = "remote";

/// Where data files may come from beside the data folder: from nowhere.
#[derive(Clone, Debug, Default)]
pub struct RemoteData {}

/// A URL below which files may be read: there is none in this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix(Infallible);

/// A file from elsewhere: there is none in this build.
#[derive(Debug)]
pub(crate) struct Cached(Infallible);

impl Cached {
    pub(crate) fn path(&self) -> &Path {
        match self.0 {}
    }
}

impl RemoteData {
    /// Allows nothing: no prefix can be made.
    pub fn new(_allowed: Vec<UrlPrefix>, _cache: PathBuf, _limit: u64) -> Self {
        Self {}
    }

    /// Refuses a URL that stands under `key`.
    pub(crate) fn fetch(&self, _name: &str, key: &str) -> Result<Cached, DataError> {
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
