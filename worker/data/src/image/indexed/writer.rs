//! Writes records one after the other.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use lookbehind_common::digest::Digest;

use super::record::{Record, Records};
use super::{Contents, kept};
use crate::DataError;
use crate::cache::{Cache, Unfinished, nameless};
use crate::loading::Loading;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
/// Bytes that the cache makes room for at once.
const ROOM: u64 = 64 << 20;
/// Longest name that is written, in bytes.
const MAX_NAME: usize = 4096;
/// Number of images after which progress is told.
const TOLD: u64 = 1 << 16;

/// An image that is to be written.
pub(in crate::image) struct NewRecord<'a> {
    pub(in crate::image) bytes: &'a [u8],
    pub(in crate::image) digest: Digest,
    pub(in crate::image) name: String,
    /// Bytes that it takes to read, to decode and to convert it.
    pub(in crate::image) work: u64,
}

/// A file of records while it grows.
pub(in crate::image) struct Writer {
    file: BufWriter<File>,
    /// The file in the cache, if there is one.
    cached: Option<(Arc<Cache>, Unfinished)>,
    /// Bytes so far, those that the cache has room for, and images so far.
    length: u64,
    room: u64,
    images: u64,
}

fn in_cache(source: io::Error) -> DataError {
    DataError::Cache { source }
}

impl Writer {
    pub(super) fn new(loading: &Loading) -> Result<Self, DataError> {
        let (file, cached) = match loading.cache() {
            Some(cache) => {
                let unfinished = cache.begin(0).map_err(in_cache)?;
                let file = unfinished.file.try_clone().map_err(in_cache)?;
                (file, Some((Arc::clone(cache), unfinished)))
            }
            None => (nameless().map_err(in_cache)?, None),
        };
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { file, cached, length: 0, room: 0, images: 0 })
    }

    /// Writes an image.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(in crate::image) fn push(&mut self, new: &NewRecord<'_>) -> Result<Record, DataError> {
        let name = &new.name.as_bytes()[..new.name.len().min(MAX_NAME)];
        let record = Record {
            offset: self.length,
            // At most MAX_NAME.
            name: name.len() as u32,
            length: new.bytes.len() as u64,
            work: new.work,
            digest: new.digest.0,
        };
        self.write(name)?;
        self.write(new.bytes)?;
        self.images += 1;
        if self.images.is_multiple_of(TOLD) {
            let (images, mebibytes) = (self.images, self.length >> 20);
            tracing::info!(images, mebibytes, "indexing the data");
        }
        Ok(record)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        if let Some((cache, _)) = self.cached.as_ref().filter(|_| self.length > self.room) {
            // More than is needed now, so that the cache is not asked for each image; less if there is no more.
            let ahead = self.length.saturating_add(ROOM);
            self.room = match cache.make_room(ahead) {
                Ok(()) => ahead,
                Err(_) => cache.make_room(self.length).map(|()| self.length).map_err(in_cache)?,
            };
        }
        self.file.write_all(bytes).map_err(in_cache)
    }

    /// The finished records. They are kept with their index under a name, if there is one and a cache.
    pub(super) fn finish(mut self, contents: &Contents, name: Option<&Digest>) -> Result<Records, DataError> {
        let name = name.filter(|_| self.cached.is_some());
        if name.is_some() {
            kept::write(contents, |bytes| self.write(bytes))?;
        }
        let file = self.file.into_inner().map_err(|error| in_cache(error.into_error()))?;
        let kept = self.cached.zip(name);
        let cached =
            kept.map(|((cache, unfinished), name)| cache.finish(unfinished, &name.to_string())).transpose();
        Ok(Records { file, cached: cached.map_err(in_cache)? })
    }
}
