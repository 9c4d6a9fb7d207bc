//! Reads members of zip archives, also of those beyond 4 GiB (zip64): stored or deflated, not encrypted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::names::path_of;
use super::read_exactly;
use crate::loading::{Lent, Loading, Watched};
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Bytes in memory for each byte of the directory at the archive's end, at most.
const EXPANSION: u64 = 16;
/// Length of the record that ends an archive, without the comment, which has at most 65,535 bytes.
const END: usize = 22;
const MAX_COMMENT: usize = 0xffff;
/// Length of the record before it that says where zip64's own record is.
const LOCATOR: usize = 20;

/// An opened zip archive.
pub(super) struct Zip {
    archive: Mutex<ZipArchive<Watched<File>>>,
    _lent: Lent,
}

/// What the directory says of a member.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
    /// Length of the content in bytes.
    pub(super) length: u64,
}

impl Zip {
    /// Reads the directory of an archive.
    pub(super) fn open(source: &Source, loading: &Loading) -> Result<Self, DataError> {
        let in_file = |problem| source.error(problem);
        let mut file = loading.watch(source.open()?);
        let directory = Directory::of(&mut file).map_err(in_file)?;
        let lent = loading.lend(directory.bytes.min(source.length()?).saturating_mul(EXPANSION))?;
        let archive = ZipArchive::new(file).map_err(|error| in_file(damaged(&error)))?;
        if archive.len() as u64 != directory.members {
            let reason = format!(
                "{} members of different names, its end says {}: a name is there more than once",
                archive.len(),
                directory.members
            );
            return Err(in_file(FileProblem::Damaged { format: "zip", reason }));
        }
        Ok(Self { archive: Mutex::new(archive), _lent: lent })
    }

    pub(super) fn len(&self) -> usize {
        self.archive.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A member, which must be a file or folder that can be read.
    pub(super) fn entry(&mut self, index: usize) -> Result<Entry, FileProblem> {
        let archive = self.archive.get_mut().unwrap_or_else(PoisonError::into_inner);
        let file = archive.by_index_raw(index).map_err(|error| damaged(&error))?;
        // Some programs write the separators of their system.
        let written = file.name().map_err(|error| damaged(&error))?.replace('\\', "/");
        let name = path_of(written.as_bytes())?;
        let refuse = |problem: String| Err(FileProblem::member(&name, problem));
        if file.encrypted() {
            return refuse("is encrypted".to_owned());
        }
        if file.is_symlink() {
            return refuse("is a link, expected files and folders only".to_owned());
        }
        let method = file.compression();
        if ![CompressionMethod::Stored, CompressionMethod::DEFLATE].contains(&method) {
            return refuse(format!("is compressed with {method}, expected stored or deflated members"));
        }
        let (is_folder, length) = (written.ends_with('/'), file.size());
        Ok(Entry { name, is_folder, length })
    }

    /// The content of a member, whose bytes have been charged.
    pub(super) fn read(
        &self,
        index: usize,
        path: &str,
        length: u64,
        loading: &Loading,
    ) -> Result<Vec<u8>, FileProblem> {
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let file = archive.by_index_raw(index).map_err(|error| damaged(&error))?;
        let expected = file.crc32();
        let mut reader: Box<dyn Read + '_> = match file.compression() {
            CompressionMethod::DEFLATE => Box::new(loading.watch(DeflateDecoder::new(file))),
            _ => Box::new(loading.watch(file)),
        };
        let bytes = read_exactly(&mut reader, path, length)?;
        if reader.read(&mut [0]).map_err(FileProblem::Io)? > 0 {
            return Err(FileProblem::member(
                path,
                format!("has more than the {length} bytes that it claims"),
            ));
        }
        let mut checksum = flate2::Crc::new();
        checksum.update(&bytes);
        match checksum.sum() == expected {
            true => Ok(bytes),
            false => Err(FileProblem::member(path, "is damaged: its checksum is another one")),
        }
    }
}

/// What the record at the archive's end says of the directory.
struct Directory {
    bytes: u64,
    members: u64,
}

impl Directory {
    fn of(file: &mut (impl Read + Seek)) -> Result<Self, FileProblem> {
        let length = file.seek(SeekFrom::End(0)).map_err(FileProblem::Io)?;
        let tail = (END + MAX_COMMENT + LOCATOR).min(usize::try_from(length).unwrap_or(usize::MAX));
        file.seek(SeekFrom::Start(length - tail as u64)).map_err(FileProblem::Io)?;
        let mut bytes = vec![0; tail];
        file.read_exact(&mut bytes).map_err(FileProblem::Io)?;
        let starts = |start: &usize| bytes[*start..].starts_with(b"PK\x05\x06");
        let Some(start) = (0..=tail.saturating_sub(END)).rev().find(starts) else {
            let reason = "it has no end: it was not downloaded or written completely".to_owned();
            return Err(FileProblem::Damaged { format: "zip", reason });
        };
        let (locator, end) = bytes.split_at(start);
        let directory = Self { bytes: number(end, 12, 4), members: number(end, 10, 2) };
        let locator = locator.len().checked_sub(LOCATOR).map(|start| &locator[start..]);
        match locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
            None => Ok(directory),
            Some(locator) => Self::of_zip64(file, number(locator, 8, 8)),
        }
    }

    fn of_zip64(file: &mut (impl Read + Seek), at: u64) -> Result<Self, FileProblem> {
        let mut record = [0; 56];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut record)).map_err(|error| {
            FileProblem::Damaged { format: "zip", reason: format!("the record of zip64: {error}") }
        })?;
        Ok(Self { bytes: number(&record, 40, 8), members: number(&record, 32, 8) })
    }
}

/// The little-endian number of `length` bytes at a place, of which the caller knows that it is there.
fn number(bytes: &[u8], place: usize, length: usize) -> u64 {
    bytes[place..place + length].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn damaged(error: &zip::result::ZipError) -> FileProblem {
    FileProblem::Damaged { format: "zip", reason: error.to_string() }
}
