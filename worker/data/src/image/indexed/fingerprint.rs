//! The fingerprint of an indexed data set: of the files of its images, or of their pixels.

use lookbehind_common::digest::Digest;
use rayon::prelude::*;

use super::dataset::Indexed;
use super::record::Record;
use crate::image::header::{Depth, Value};
use crate::image::parameters::FingerprintOf;
use crate::memory::{ContentHasher, Element};
use crate::samples::Samples;
use crate::{DataError, Dataset};

/// Images of each split that are decoded for a fingerprint of the index.
const DECODED: usize = 32;
/// About how many bytes of pixels are decoded at once.
const PIECE: usize = 1 << 23;

pub(super) fn of(data: &Indexed, of: FingerprintOf) -> Result<Digest, DataError> {
    match (of, data.form.shape.depth) {
        (FingerprintOf::Index, Depth::Eight) => of_index::<u8>(data),
        (FingerprintOf::Index, Depth::Sixteen) => of_index::<u16>(data),
        (FingerprintOf::Pixels, Depth::Eight) => of_pixels::<u8>(data),
        (FingerprintOf::Pixels, Depth::Sixteen) => of_pixels::<u16>(data),
    }
}

/// BLAKE3 over shape, classes, the digests of all files and the labels: not over names, as one data set may be there in
/// several formats. The pixels of some images go into it, too, so that workers whose decoders disagree are found out.
fn of_index<T: Value + Element>(data: &Indexed) -> Result<Digest, DataError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"index of images");
    hasher.update(T::TAG);
    let description = data.description();
    let shape = description.input_shape.iter().copied();
    let numbers =
        shape.chain([description.classes]).chain(data.splits.each_ref().map(|split| split.targets.len()));
    numbers.for_each(|number| {
        hasher.update(&(number as u64).to_le_bytes());
    });
    for split in &data.splits {
        data.loading().check()?;
        split.inputs.slices().flatten().for_each(|record| {
            hasher.update(&record.digest);
        });
        split.targets.slices().flatten().for_each(|class| {
            hasher.update(&class.to_le_bytes());
        });
        let rows = split.inputs.len();
        let some = rows.min(DECODED);
        for row in (0..some).map(|place| place * rows / some) {
            T::update(&mut hasher, &decoded::<T>(data, split, row..row + 1)?);
        }
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// The fingerprint that the data set has in memory.
fn of_pixels<T: Value + Element>(data: &Indexed) -> Result<Digest, DataError> {
    let description = data.description();
    let rows = data.splits.each_ref().map(|split| split.targets.len());
    let mut hasher = ContentHasher::new::<T>(&description.input_shape, description.classes, rows);
    let at_once = (PIECE / description.input_size() / size_of::<T>()).max(1);
    for split in &data.splits {
        let rows = split.inputs.len();
        for start in (0..rows).step_by(at_once) {
            data.loading().check()?;
            hasher.inputs(&decoded::<T>(data, split, start..rows.min(start + at_once))?);
        }
        split.targets.slices().for_each(|targets| hasher.targets(targets));
    }
    Ok(hasher.finish())
}

/// The pixels of some images, one after the other.
fn decoded<T: Value>(
    data: &Indexed,
    split: &Samples<Record>,
    rows: std::ops::Range<usize>,
) -> Result<Vec<T>, DataError> {
    let bytes = data.form.shape.bytes().saturating_mul(rows.len() as u64);
    let _lent = data.loading().lend(bytes.saturating_mul(2))?;
    let records: Vec<Record> = rows.filter_map(|row| split.inputs.get(row)).flatten().copied().collect();
    let images: Vec<_> = records.par_iter().map(|record| data.decoded::<T>(record)).collect();
    let images: Vec<Vec<T>> = images.into_iter().collect::<Result<_, _>>()?;
    Ok(images.concat())
}
