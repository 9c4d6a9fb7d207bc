//! The index of a kept data set, which stands behind its records:
//!
//! ```text
//! records
//! length of the header (u32), the header in JSON
//! of each image of the training split, then of the test split: the record (60 bytes), its class (u32)
//! length of all that is between (u64), its BLAKE3 (32 bytes), MAGIC
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use lookbehind_common::digest::Digest;
use serde::{Deserialize, Serialize};

use super::record::{Record, Records};
use super::{Contents, IMAGE};
use crate::cache::Cached;
use crate::image::form::Form;
use crate::image::header::{Depth, Header as Shape};
use crate::image::parameters::FormParameters;
use crate::loading::{Cancelled, Lent, Loading};
use crate::report::{Finding, Notes};
use crate::samples::Samples;
use crate::{DataError, MAX_CLASSES};

/// Last bytes of a kept file; the number is that of this format.
const MAGIC: [u8; 8] = *b"LBindex1";
/// Length of what stands behind the index, in bytes.
const FOOTER: u64 = 8 + 32 + MAGIC.len() as u64;
/// Length of an image's entry in bytes.
const ENTRY: u64 = Record::LENGTH as u64 + 4;
/// Bytes that are read at once, and bytes in memory for each byte of the header, at most.
const BUFFER: usize = 1 << 20;
const EXPANSION: u64 = 16;

/// What all images have in common, and what people are told of them.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Height, width and channels.
    shape: [usize; 3],
    /// Whether values of pixels have 16 bits.
    sixteen_bits: bool,
    classes: usize,
    class_names: Vec<String>,
    findings: Vec<Finding>,
    /// Number of images in the training split and in the test split.
    samples: [u64; 2],
}

/// Why a kept file cannot be used.
enum Unusable {
    /// It is not what was written, so that it is made anew.
    Damaged(String),
    /// Another one would not be of use either.
    Other(DataError),
}

impl From<DataError> for Unusable {
    fn from(error: DataError) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        if Cancelled::is_cause_of(&error) {
            Self::Other(DataError::Cancelled)
        } else {
            Self::Damaged(error.to_string())
        }
    }
}

fn damaged(problem: &str) -> Unusable {
    Unusable::Damaged(problem.to_owned())
}

/// Writes the index.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    contents: &Contents,
    mut out: impl FnMut(&[u8]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let (mut hasher, mut length) = (blake3::Hasher::new(), 0_u64);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        length += bytes.len() as u64;
        out(bytes)
    };
    let header = serde_json::to_vec(&Header::of(contents))
        .map_err(|error| DataError::Cache { source: error.into() })?;
    put(&(header.len() as u32).to_le_bytes())?;
    put(&header)?;
    for split in &contents.splits {
        for row in 0..split.targets.len() {
            if let (Some([record]), Some([class])) = (split.inputs.get(row), split.targets.get(row)) {
                put(&record.to_bytes())?;
                put(&class.to_le_bytes())?;
            }
        }
    }
    out(&length.to_le_bytes())?;
    out(hasher.finalize().as_bytes())?;
    out(&MAGIC)
}

/// Reads the index of a kept file; `None` if it is damaged.
///
/// # Errors
/// When the index does not fit into memory, or loading was cancelled.
pub(super) fn read(
    cached: Cached,
    parameters: &FormParameters,
    loading: &Loading,
) -> Result<Option<(Records, Contents)>, DataError> {
    let read = File::open(cached.path()).map_err(Unusable::from).and_then(|file| {
        let contents = contents(&file, parameters, loading)?;
        Ok((file, contents))
    });
    match read {
        Ok((file, contents)) => Ok(Some((Records { file, cached: Some(cached) }, contents))),
        Err(Unusable::Other(error)) => Err(error),
        Err(Unusable::Damaged(reason)) => {
            tracing::warn!(file = %cached.path().display(), reason, "a kept index of data is made anew");
            Ok(None)
        }
    }
}

fn contents(file: &File, parameters: &FormParameters, loading: &Loading) -> Result<Contents, Unusable> {
    let mut footer = [0; FOOTER as usize];
    let end = file.metadata()?.len().checked_sub(FOOTER).ok_or_else(|| damaged("it is too short"))?;
    file.read_exact_at(&mut footer, end)?;
    let (length, rest) = footer.split_at(8);
    let (digest, magic) = rest.split_at(32);
    let length = length.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    let start =
        end.checked_sub(length).filter(|_| magic == MAGIC).ok_or_else(|| damaged("it has no index"))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut reader(file, start, length, loading)?, &mut hasher)?;
    if hasher.finalize().as_bytes() != digest {
        return Err(damaged("its index has another digest"));
    }
    let mut index = reader(file, start, length, loading)?;
    let header_length = u32::from_le_bytes(next(&mut index)?);
    let (header, _lent) = header(&mut index, header_length, loading)?;
    let images = header.check(length - 4 - u64::from(header_length), loading)?;
    loading.has_room_for(images.saturating_mul(IMAGE))?;
    let mut splits = [Samples::new(1), Samples::new(1)];
    for (split, count) in splits.iter_mut().zip(header.samples) {
        for _ in 0..count {
            let record = Record::from_bytes(&next(&mut index)?);
            let class = u32::from_le_bytes(next(&mut index)?);
            if record.end().is_none_or(|end| end > start) || class as usize >= header.classes {
                return Err(damaged("an image lies outside of it"));
            }
            split.inputs.push([record]);
            split.targets.push([class]);
        }
    }
    loading.keep(images.saturating_mul(IMAGE))?;
    let form = Form { shape: header.shape(), conversion: parameters.conversion() };
    let notes = Notes { class_names: header.class_names, findings: header.findings };
    Ok(Contents { form, classes: header.classes, notes, splits })
}

fn reader(file: &File, start: u64, length: u64, loading: &Loading) -> io::Result<impl Read> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(start))?;
    Ok(BufReader::with_capacity(BUFFER, loading.watch(file)).take(length))
}

fn next<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn header(reader: &mut impl Read, length: u32, loading: &Loading) -> Result<(Header, Lent), Unusable> {
    let lent = loading.lend(u64::from(length).saturating_mul(EXPANSION))?;
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    let header = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    Ok((header, lent))
}

impl Header {
    fn of(contents: &Contents) -> Self {
        let Shape { height, width, channels, depth } = contents.form.shape;
        Self {
            shape: [height, width, channels],
            sixteen_bits: depth == Depth::Sixteen,
            classes: contents.classes,
            class_names: contents.notes.class_names.clone(),
            findings: contents.notes.findings.clone(),
            samples: contents.splits.each_ref().map(|split| split.targets.len() as u64),
        }
    }

    fn shape(&self) -> Shape {
        let [height, width, channels] = self.shape;
        let depth = if self.sixteen_bits { Depth::Sixteen } else { Depth::Eight };
        Shape { height, width, channels, depth }
    }

    /// The number of images, if it is that of `bytes` of entries, and the rest is possible.
    fn check(&self, bytes: u64, loading: &Loading) -> Result<u64, Unusable> {
        let images = self.samples[0].saturating_add(self.samples[1]);
        let size = self.shape().bytes();
        let possible = images.checked_mul(ENTRY) == Some(bytes)
            && (1..=loading.limit()).contains(&size)
            && [1, 3].contains(&self.shape[2])
            && (1..=MAX_CLASSES).contains(&self.classes);
        if possible { Ok(images) } else { Err(damaged("its header does not fit its images")) }
    }
}

/// The name under which a data set is kept: that of its files and of this format.
pub(in crate::image) fn name(stamp: &Digest) -> Digest {
    Digest::of(&[&MAGIC[..], &stamp.0].concat())
}
