//! Reads members of zip archives, also of those beyond 4 GiB (zip64): stored or deflated, not encrypted.

use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::names::path_of;
use super::read_exactly;
use super::zip_directory::Directory;
use crate::loading::{Lent, Loading, Watched};
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Bytes in memory for each byte of the directory at the archive's end, at most.
const EXPANSION: u64 = 16;
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
        let lent = loading.lend(directory.bytes.saturating_mul(EXPANSION))?;
        // The library must not look for the directory in another place than the one that was charged.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let archive = ZipArchive::with_config(config, file).map_err(|error| in_file(damaged(&error)))?;
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

fn damaged(error: &zip::result::ZipError) -> FileProblem {
    FileProblem::Damaged { format: "zip", reason: error.to_string() }
}
