//! Data files in object stores and behind HTTP: only below prefixes that the worker's operator allowed, through a
//! cache folder that holds whole files alone.

mod cache;
mod prefix;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::job::JobError;

use super::{DataError, FileProblem};
use cache::Cache;
pub(super) use cache::Cached;
pub use prefix::UrlPrefix;

/// Mebibytes that the cache takes unless the operator says otherwise.
const DEFAULT_LIMIT: u64 = 64 * 1024;

/// Where data files may come from beside the data folder; by default from nowhere.
#[derive(Clone, Debug, Default)]
pub struct RemoteData {
    allowed: Vec<UrlPrefix>,
    cache: Option<Arc<Cache>>,
}

/// The same on a command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RemoteArgs {
    /// Jobs may name data files by URLs below this prefix, as in s3://bucket/data or https://host/data; repeatable
    #[arg(long = "data-url", env = "LOOKBEHIND_DATA_URLS", value_name = "PREFIX", value_delimiter = ',')]
    data_urls: Vec<UrlPrefix>,
    /// Folder that keeps such files; by default ~/.cache/lookbehind
    #[arg(long, env = "LOOKBEHIND_DATA_CACHE", value_name = "DIR")]
    data_cache: Option<PathBuf>,
    /// Mebibytes that this folder may take
    #[arg(long, env = "LOOKBEHIND_DATA_CACHE_LIMIT", value_name = "MIB", default_value_t = DEFAULT_LIMIT)]
    data_cache_limit: u64,
}

impl RemoteArgs {
    /// What the arguments allow.
    pub fn into_data(self) -> RemoteData {
        let folder = self.data_cache.unwrap_or_else(default_cache);
        RemoteData::new(self.data_urls, folder, self.data_cache_limit.saturating_mul(1 << 20))
    }
}

fn default_cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    cache.or(home.map(|home| home.join(".cache"))).unwrap_or_default().join("lookbehind")
}

impl RemoteData {
    /// Allows URLs below some prefixes; their files are kept in `cache`, which takes at most `limit` bytes.
    pub fn new(allowed: Vec<UrlPrefix>, cache: PathBuf, limit: u64) -> Self {
        let cache = (!allowed.is_empty()).then(|| Arc::new(Cache::new(cache, limit)));
        Self { allowed, cache }
    }

    /// Whether a file is named by a URL and not by a path.
    pub(super) fn is_url(name: &str) -> bool {
        name.contains("://")
    }

    /// Fetches a file that a job names by its URL, unless the cache has it.
    pub(super) fn fetch(&self, name: &str, key: &str) -> Result<Cached, DataError> {
        let url = prefix::parse(name).map_err(|problem| JobError::new(key, &problem))?;
        let in_file = |problem| DataError::File { file: name.to_owned(), problem };
        let allowed = self.allowed.iter().any(|prefix| prefix.covers(&url));
        let Some(cache) = self.cache.as_ref().filter(|_| allowed) else {
            let allowed: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            return Err(in_file(FileProblem::NotAllowed { allowed }));
        };
        // On a thread of its own: whoever loads data may be part of another runtime.
        let fetched = std::thread::scope(|scope| {
            let fetch = || store::fetch(&url, &self.allowed, cache);
            scope.spawn(fetch).join().unwrap_or_else(|_| Err("its reader panicked".to_owned()))
        });
        fetched.map_err(|reason| in_file(FileProblem::Fetch { reason }))
    }
}

#[cfg(test)]
#[path = "remote_test.rs"]
mod tests;
