//! Recognises archives by their first bytes.

use std::io::Read;

use crate::loading::Loading;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Bytes of a block of tar.
const BLOCK: usize = 512;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Zip,
    Tar { is_compressed: bool },
}

impl Kind {
    /// The kind of a file; `None` if it is no archive.
    ///
    /// # Errors
    /// When the file cannot be read, or is an archive of a kind that is not read.
    pub(super) fn of(source: &Source, loading: &Loading) -> Result<Option<Self>, DataError> {
        let start = first_block(source, &mut source.open()?)?;
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Ok(Some(Self::Zip));
        }
        if is_header(&start) {
            return Ok(Some(Self::Tar { is_compressed: false }));
        }
        if let Some(format) = unread(&start) {
            let found = format!("{format}, expected zip, tar, tar.gz or tar.zst, or an unpacked folder");
            return Err(source.error(FileProblem::Instead { found }));
        }
        if !is_compressed(&start) {
            return Ok(None);
        }
        let unpacked = first_block(source, &mut source.reader(loading)?)?;
        Ok(is_header(&unpacked).then_some(Self::Tar { is_compressed: true }))
    }
}

fn first_block(source: &Source, reader: &mut dyn Read) -> Result<Vec<u8>, DataError> {
    let mut start = Vec::with_capacity(BLOCK);
    let read = reader.take(BLOCK as u64).read_to_end(&mut start);
    read.map_err(|error| source.error(FileProblem::Io(error)))?;
    Ok(start)
}

fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Whether a block is the header of a member: its checksum is right. Old archives have no other sign.
fn is_header(block: &[u8]) -> bool {
    let Ok(bytes) = <[u8; BLOCK]>::try_from(block) else { return false };
    let header = tar::Header::from_byte_slice(&bytes);
    // The checksum is computed with spaces in its own place.
    let sum = bytes.iter().enumerate().map(|(place, &byte)| match place {
        148..156 => u32::from(b' '),
        _ => u32::from(byte),
    });
    bytes[0] != 0 && header.cksum().is_ok_and(|found| found == sum.sum::<u32>())
}

/// The name of a format of archives that is not read.
fn unread(start: &[u8]) -> Option<&'static str> {
    Some(match start {
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [b'R', b'a', b'r', b'!', ..] => "a RAR archive",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, ..] => "compressed with bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        _ => return None,
    })
}
