//! Sources of bytes: files that a job names, plain or compressed, in the data folder or remote.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use lookbehind_common::job::JobError;
use serde::Deserialize;

use super::paths::resolve;
use super::remote::Cached;
use super::{DataEnvironment, DataError, FileProblem, is_url};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;
/// First bytes of compressed files. No format that is read here begins with them, so files need no ending that says so.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One file, or several that contain a split together, in order.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub(super) enum Paths {
    /// A single path or URL.
    One(String),
    /// Paths or URLs in the order of their samples.
    Many(Vec<String>),
}

impl Paths {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }
}

/// A file that has been found.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The name in the job, for errors.
    name: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// A path in the data folder.
    Here(PathBuf),
    /// A remote file in the cache, which keeps it while this lives.
    Cached(Arc<Cached>),
}

impl Source {
    /// Finds a file; `key` is the job's key that names it.
    pub(super) fn find(environment: &DataEnvironment, name: &str, key: &str) -> Result<Self, DataError> {
        let place = if is_url(name) {
            Place::Cached(Arc::new(environment.remote.fetch(name, key)?))
        } else {
            Place::Here(resolve(&environment.root, name, key)?)
        };
        Ok(Self { name: name.to_owned(), place })
    }

    /// Finds several files; at least one must be named.
    pub(super) fn find_all(
        environment: &DataEnvironment,
        names: &[String],
        key: &str,
    ) -> Result<Vec<Self>, DataError> {
        if names.is_empty() {
            return Err(JobError::new(key, "expected at least one path, found none").into());
        }
        names.iter().map(|name| Self::find(environment, name, key)).collect()
    }

    /// Describes the files of a split, for errors.
    pub(super) fn names(files: &[Self]) -> String {
        match files {
            [] => "no files".to_owned(),
            [file] => format!("{:?}", file.name),
            [first, others @ ..] => format!("{:?} and {} more", first.name, others.len()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match &self.place {
            Place::Here(path) => path,
            Place::Cached(cached) => cached.path(),
        }
    }

    /// An error about this file.
    pub(super) fn error(&self, problem: FileProblem) -> DataError {
        DataError::File { file: self.name.clone(), problem }
    }

    /// Opens the file without decompressing it.
    pub(super) fn open(&self) -> Result<File, DataError> {
        File::open(self.path()).map_err(|error| self.error(FileProblem::Io(error)))
    }

    /// Opens the file and decompresses it if its first bytes are those of gzip or zstandard.
    pub(super) fn reader(&self) -> Result<Box<dyn BufRead + Send>, DataError> {
        self.decompressed().map_err(|error| self.error(FileProblem::Io(error)))
    }

    fn decompressed(&self) -> std::io::Result<Box<dyn BufRead + Send>> {
        let mut file = File::open(self.path())?;
        let mut start = Vec::with_capacity(ZSTD.len());
        file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start)?;
        file.rewind()?;
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(if start.starts_with(&GZIP) {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
        } else if start.starts_with(&ZSTD) {
            Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?))
        } else {
            Box::new(file)
        })
    }

    /// Fills the buffer, or as much of it as the file has; returns the number of bytes.
    pub(super) fn fill(&self, reader: &mut dyn BufRead, buffer: &mut [u8]) -> Result<usize, DataError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(FileProblem::Io(error))),
            }
        }
        Ok(filled)
    }

    /// Reads a whole file of at most `limit` bytes.
    pub(super) fn read_whole(&self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let file = self.open()?;
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| self.error(FileProblem::Io(error)))?;
        if bytes.len() as u64 > limit {
            return Err(DataError::Memory { needed: bytes.len() as u64, limit });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
