//! Sources of bytes: files that a job names, plain or compressed, in the data folder or remote.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use lookbehind_common::job::JobError;
use serde::Deserialize;

use super::archive::{Archive, within};
use super::cache::Cached;
use super::loading::{Cancelled, Lent, Loading, Watched};
use super::paths::resolve_in;
use super::stamp::Stamp;
use super::{DataEnvironment, DataError, FileProblem, foreign, is_url, patterns};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;
/// First bytes of compressed files. No format that is read here begins with them, so files need no ending that says so.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of a file that are read to recognise its compression: the longest beginning of a zstandard frame that matters.
const START: usize = 13;
/// Logarithms of the windows of zstandard files: every file may need the least one, 8 MiB, and none needs more than the
/// greatest one, 128 MiB, unless it was written for programs that are told so.
const LEAST_WINDOW: u32 = 23;
const GREATEST_WINDOW: u32 = 27;

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
#[derive(Clone)]
pub(super) struct Source {
    /// The name in the job, for errors.
    name: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// A path in the data folder.
    Here(PathBuf),
    /// A remote file in the cache, which keeps it while this lives.
    Cached(Arc<Cached>),
    /// A file in an archive.
    Packed(Arc<Archive>, String),
}

impl Source {
    /// Finds a file; `key` is the job's key that names it.
    pub(super) fn find(environment: &DataEnvironment, name: &str, key: &str) -> Result<Self, DataError> {
        let place = if is_url(name) {
            Place::Cached(Arc::new(environment.remote.fetch(name, key, &environment.cancellation)?))
        } else {
            Place::Here(resolve_in(environment, name, key)?)
        };
        Ok(Self { name: name.to_owned(), place })
    }

    /// A file in an archive, of which the caller knows that it is there.
    pub(super) fn packed(archive: Arc<Archive>, path: String) -> Self {
        let name = within(archive.source().name(), &path);
        Self { name, place: Place::Packed(archive, path) }
    }

    /// Whether it lies in an archive.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self.place, Place::Packed(..))
    }

    /// A file that the user named, wherever it lies.
    pub(super) fn of_path(path: &Path) -> Self {
        Self { name: path.display().to_string(), place: Place::Here(path.to_owned()) }
    }

    /// Finds several files; at least one must be named. A name may be a pattern ([`patterns::expanded`]).
    pub(super) fn find_all(
        environment: &DataEnvironment,
        names: &[String],
        key: &str,
    ) -> Result<Vec<Self>, DataError> {
        if names.is_empty() {
            return Err(JobError::new(key, "expected at least one path, found none").into());
        }
        let names = patterns::expanded(environment, names, key)?;
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

    /// The name in the job.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file itself.
    fn path(&self) -> Result<&Path, DataError> {
        match &self.place {
            Place::Here(path) => Ok(path),
            Place::Cached(cached) => Ok(cached.path()),
            Place::Packed(..) => Err(self.error(FileProblem::Packed { format: "this format" })),
        }
    }

    /// An error about this file, unless it only means that loading was cancelled.
    pub(super) fn error(&self, problem: FileProblem) -> DataError {
        match problem {
            FileProblem::Io(error) if Cancelled::is_cause_of(&error) => DataError::Cancelled,
            problem => DataError::File { file: self.name.clone(), problem },
        }
    }

    /// Opens the file without decompressing it. What is found in the place of data where a download went wrong is
    /// refused.
    pub(super) fn open(&self) -> Result<File, DataError> {
        let in_file = |error| self.error(FileProblem::Io(error));
        let mut file = File::open(self.path()?).map_err(in_file)?;
        let mut start = Vec::with_capacity(foreign::START);
        file.by_ref().take(foreign::START as u64).read_to_end(&mut start).map_err(in_file)?;
        file.rewind().map_err(in_file)?;
        match foreign::in_place_of_data(&start) {
            None => Ok(file),
            Some(found) => Err(self.error(FileProblem::Instead { found: found.to_owned() })),
        }
    }

    /// Opens the file and decompresses it if its first bytes are those of gzip or zstandard. Reading fails once loading
    /// is cancelled.
    pub(super) fn reader(&self, loading: &Loading) -> Result<Box<dyn BufRead + Send>, DataError> {
        match &self.place {
            Place::Here(_) | Place::Cached(_) => self.unpacked(self.open()?, loading),
            Place::Packed(..) => self.unpacked(Cursor::new(self.content(loading)?), loading),
        }
    }

    fn unpacked(
        &self,
        mut file: impl Read + Seek + Send + 'static,
        loading: &Loading,
    ) -> Result<Box<dyn BufRead + Send>, DataError> {
        let in_file = |error| self.error(FileProblem::Io(error));
        let mut start = Vec::with_capacity(START);
        file.by_ref().take(START as u64).read_to_end(&mut start).map_err(in_file)?;
        file.rewind().map_err(in_file)?;
        // Watched on both sides: little input may decompress to much output, and much input to none.
        let file = BufReader::with_capacity(BUFFER, loading.watch(file));
        Ok(if start.starts_with(&GZIP) {
            let decoder = loading.watch(MultiGzDecoder::new(file));
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        } else if start.starts_with(&ZSTD) {
            let lent = loading.lend(1 << window_log(&start))?;
            let mut decoder = zstd::Decoder::with_buffer(file).map_err(in_file)?;
            decoder.window_log_max(window_log(&start)).map_err(in_file)?;
            let decoder = Unpacking { decoder: loading.watch(decoder), _lent: lent };
            Box::new(BufReader::with_capacity(BUFFER, decoder))
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

    /// Notes what tells whether the file has changed.
    pub(super) fn stamp(&self, stamp: &mut Stamp) -> Result<(), DataError> {
        stamp.text(&self.name);
        match &self.place {
            Place::Here(path) => {
                let found = std::fs::metadata(path).map_err(|error| self.error(FileProblem::Io(error)))?;
                stamp.file(&found);
            }
            // Its name in the cache covers its version, and its times are those of its use.
            Place::Cached(cached) => stamp.text(&cached.path().display().to_string()),
            Place::Packed(archive, _) => archive.source().stamp(stamp)?,
        }
        Ok(())
    }

    /// Length of the file in bytes.
    pub(super) fn length(&self) -> Result<u64, DataError> {
        if let Place::Packed(archive, path) = &self.place {
            return archive.length(path);
        }
        let metadata = std::fs::metadata(self.path()?);
        metadata.map(|metadata| metadata.len()).map_err(|error| self.error(FileProblem::Io(error)))
    }

    /// The whole file. Its memory is charged twice, as decoders keep copies of parts of it.
    pub(super) fn content(&self, loading: &Loading) -> Result<Content, DataError> {
        let length = self.length()?;
        let lent = loading.lend(length.saturating_mul(2))?;
        let bytes = match &self.place {
            Place::Packed(archive, path) => archive.read(path, loading)?,
            Place::Here(_) | Place::Cached(_) => {
                let path = self.path()?;
                let file = File::open(path).map_err(|error| self.error(FileProblem::Io(error)))?;
                let mut bytes = Vec::with_capacity(length as usize);
                let read = loading.watch(file).take(length).read_to_end(&mut bytes);
                read.map_err(|error| self.error(FileProblem::Io(error)))?;
                Arc::new(bytes)
            }
        };
        Ok(Content { bytes, _lent: lent })
    }
}

/// The bytes of a file, with their memory.
pub(super) struct Content {
    bytes: Arc<Vec<u8>>,
    _lent: Lent,
}

impl Content {
    /// Bytes that were read elsewhere.
    pub(super) fn new(bytes: Vec<u8>, lent: Lent) -> Self {
        Self { bytes: Arc::new(bytes), _lent: lent }
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The logarithm of the window that a zstandard file's first frame needs (RFC 8878, 3.1.1.1), within the limits. Further
/// frames need no more in what the usual programs write.
fn window_log(start: &[u8]) -> u32 {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match start {
        [_, _, _, _, descriptor, window, ..] if descriptor & SINGLE_SEGMENT == 0 => {
            let (exponent, mantissa) = (u32::from(window >> 3), window & 7);
            (10 + exponent + u32::from(mantissa > 0)).clamp(LEAST_WINDOW, GREATEST_WINDOW)
        }
        // The window is the content: the descriptor says in how many bytes its length stands, of which all but the one
        // of two bytes are plain.
        [_, _, _, _, descriptor, rest @ ..] => {
            let length: u64 = match descriptor >> 6 {
                0 => rest.first().map_or(0, |&byte| byte.into()),
                1 => 1 << 17,
                flag => {
                    let bytes = if flag == 2 { 4 } else { 8 };
                    rest.iter().take(bytes).rev().fold(0, |length, &byte| length << 8 | u64::from(byte))
                }
            };
            length
                .clamp(1, 1 << GREATEST_WINDOW)
                .next_power_of_two()
                .ilog2()
                .clamp(LEAST_WINDOW, GREATEST_WINDOW)
        }
        _ => LEAST_WINDOW,
    }
}

/// A decoder with the memory of its window.
struct Unpacking<R> {
    decoder: Watched<R>,
    _lent: Lent,
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.decoder.read(buffer)
    }
}

#[cfg(test)]
mod tests;
