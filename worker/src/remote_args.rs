//! Command-line arguments about data files outside the data folder.

use std::path::PathBuf;

use crate::data::{RemoteData, UrlPrefix};

/// Default size limit of the cache, in MiB.
const DEFAULT_LIMIT: u64 = 64 * 1024;

/// Prefixes of permitted URLs, and the folder that caches fetched files and indexed data.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RemoteArgs {
    /// Jobs may name data files by URLs below this prefix, as in s3://bucket/data or https://host/data; repeatable
    #[arg(long = "data-url", env = "LOOKBEHIND_DATA_URLS", value_name = "PREFIX", value_delimiter = ',')]
    data_urls: Vec<UrlPrefix>,
    /// Folder that keeps such files, and the images of indexed data; by default ~/.cache/lookbehind
    #[arg(long, env = "LOOKBEHIND_DATA_CACHE", value_name = "DIR")]
    data_cache: Option<PathBuf>,
    /// Size limit of this folder in MiB
    #[arg(long, env = "LOOKBEHIND_DATA_CACHE_LIMIT", value_name = "MIB", default_value_t = DEFAULT_LIMIT)]
    data_cache_limit: u64,
}

impl RemoteArgs {
    /// The settings that the arguments express.
    pub fn into_data(self) -> RemoteData {
        let folder = self.data_cache.unwrap_or_else(default_cache);
        RemoteData::new(self.data_urls, folder, self.data_cache_limit.saturating_mul(1 << 20))
    }
}

/// The user's cache folder; if the system defines none, a folder in the program's working folder.
fn default_cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    cache.or(home.map(|home| home.join(".cache"))).unwrap_or_default().join("lookbehind")
}
