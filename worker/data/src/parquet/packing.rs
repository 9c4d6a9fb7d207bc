//! Compressions whose pages may hold more than they claim: what there is is counted before it is unpacked, because the
//! Parquet reader unpacks all of it. The others write into room of the claimed size.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use ::parquet::basic::Compression;
use brotli_decompressor::Decompressor;
use flate2::bufread::MultiGzDecoder;

use super::headers::Fields;
use super::pages::DATA_PAGE_2;
use crate::loading::Loading;

/// Fields of `DataPageHeaderV2`.
const DEFINITION_LEVELS: usize = 5;
const REPETITION_LEVELS: usize = 6;
const IS_COMPRESSED: usize = 7;
/// Bytes that are unpacked at once, and the greatest window of brotli (RFC 7932, 9.1).
const BUFFER: usize = 1 << 12;
const WINDOW: u64 = 1 << 24;

/// The beginning of what has a window beyond that, which the format does not know: the lowest seven bits.
const LARGE_WINDOW: u8 = 0x11;

/// A compression without a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Brotli,
}

impl Packing {
    /// That of a column; `None` if its pages cannot hold more than they claim.
    pub(super) fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::GZIP(_) => Some(Self::Gzip),
            Compression::BROTLI(_) => Some(Self::Brotli),
            _ => None,
        }
    }

    /// Bytes that unpacking takes in addition to the page.
    pub(super) fn work(self, unpacked: u64) -> u64 {
        match self {
            Self::Gzip => 0,
            Self::Brotli => unpacked.saturating_add(WINDOW),
        }
    }

    /// Unpacks a page without keeping it, and refuses one that holds more than it claims.
    pub(super) fn check(
        self,
        page: &Fields,
        mut file: &File,
        (start, packed): (u64, u64),
        unpacked: u64,
        loading: &Loading,
    ) -> Result<(), String> {
        let mut levels = 0;
        if let Some(data) = page.nested(DATA_PAGE_2) {
            if data.truth(IS_COMPRESSED) == Some(false) {
                return Ok(());
            }
            levels = data.number(DEFINITION_LEVELS)?.saturating_add(data.number(REPETITION_LEVELS)?);
        }
        let (Some(left), Some(claimed)) = (packed.checked_sub(levels), unpacked.checked_sub(levels)) else {
            return Err(format!("levels of {levels} bytes in a page of {packed}"));
        };
        // A page without any value may have nothing to unpack.
        if claimed == 0 {
            return Ok(());
        }
        file.seek(SeekFrom::Start(start + levels)).map_err(|error| error.to_string())?;
        let _lent = loading.lend(self.work(0)).map_err(|error| error.to_string())?;
        let mut compressed = BufReader::new(loading.watch(file).take(left));
        let first = compressed.fill_buf().map_err(|error| error.to_string())?.first();
        if self == Self::Brotli && first.is_some_and(|first| first & 0x7f == LARGE_WINDOW) {
            return Err("brotli with a large window".to_owned());
        }
        let found = match self {
            Self::Gzip => count(MultiGzDecoder::new(compressed), claimed),
            Self::Brotli => count(Decompressor::new(compressed, BUFFER), claimed),
        };
        match found.map_err(|error| error.to_string())? {
            found if found > claimed => {
                Err(format!("a page holds more than the {claimed} bytes that it claims"))
            }
            _ => Ok(()),
        }
    }
}

/// Number of bytes of a reader, at most one more than are claimed.
fn count(reader: impl Read, claimed: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(claimed.saturating_add(1)), &mut io::sink())
}
