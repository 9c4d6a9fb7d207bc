//! A record: an image as it is in its file, with its name for errors.

use std::fs::File;
use std::os::unix::fs::FileExt;

use lookbehind_common::digest::Digest;

use crate::cache::Cached;
use crate::{DataError, FileProblem};

/// Where an image is among the records, and what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::image) struct Record {
    /// Where its name begins, which the image follows.
    pub(super) offset: u64,
    /// Length of its name in bytes.
    pub(super) name: u32,
    /// Length of the image's file in bytes.
    pub(super) length: u64,
    /// Bytes that it takes to read, to decode and to convert the image.
    pub(super) work: u64,
    /// BLAKE3 of the image's file.
    pub(super) digest: [u8; 32],
}

impl Record {
    /// Length of a record in a file, in bytes.
    pub(super) const LENGTH: usize = 60;

    /// Where the record ends; `None` if no file is so long.
    pub(super) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.name.into())?.checked_add(self.length)
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.work.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.name.to_le_bytes());
        bytes[28..].copy_from_slice(&self.digest);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        let number = |start: usize, length: usize| {
            bytes[start..start + length]
                .iter()
                .rev()
                .fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[28..]);
        // Four bytes are no more than a u32 has.
        let name = number(24, 4) as u32;
        Self { offset: number(0, 8), length: number(8, 8), work: number(16, 8), name, digest }
    }
}

/// The file of records.
pub(super) struct Records {
    pub(super) file: File,
    /// Keeps it in the cache, if it is there.
    pub(super) cached: Option<Cached>,
}

impl Records {
    /// The bytes of an image. The caller has charged them, and knows that the file is so long, or was.
    ///
    /// # Errors
    /// When they cannot be read, or are not those that the index was made of.
    pub(super) fn read(&self, record: &Record) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; record.length as usize];
        let start = record.offset + u64::from(record.name);
        let read = self.file.read_exact_at(&mut bytes, start);
        read.map_err(|error| self.error(record, FileProblem::Io(error)))?;
        let found = Digest::of(&bytes);
        if found.0 == record.digest {
            return Ok(bytes);
        }
        if let Some(cached) = &self.cached {
            // The next job makes it anew. If it cannot be removed, that one is refused as well.
            let _ = std::fs::remove_file(cached.path());
        }
        Err(self.error(record, FileProblem::OtherContent { found, expected: Digest(record.digest) }))
    }

    /// An error about an image.
    pub(super) fn error(&self, record: &Record, problem: FileProblem) -> DataError {
        let mut name = vec![0; record.name as usize];
        // Where the name cannot be read, the problem alone is told.
        let read = self.file.read_exact_at(&mut name, record.offset);
        let file = if read.is_ok() { String::from_utf8_lossy(&name).into_owned() } else { String::new() };
        DataError::File { file, problem }
    }
}
