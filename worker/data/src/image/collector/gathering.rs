//! Gathers images for an index, instead of decoding them to where they stay.

use lookbehind_common::digest::Digest;
use rayon::prelude::*;

use super::decoding::NotDecoded;
use crate::DataError;
use crate::image::decode;
use crate::image::form::Form;
use crate::image::indexed::{NewRecord, Record, Writer};
use crate::loading::Loading;
use crate::samples::Samples;

/// An image that is to be gathered.
pub(super) struct NewImage<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) label: u32,
    pub(super) name: String,
    /// Bytes that it takes to decode and to convert it.
    pub(super) work: u64,
}

/// Writes images to the records, and notes where they are. With `check`, those that cannot be decoded to this form are
/// not; they are returned with their indices.
pub(super) fn gather(
    writer: &mut Writer,
    samples: &mut Samples<Record>,
    images: Vec<NewImage<'_>>,
    check: Option<Form>,
    loading: &Loading,
) -> Result<Vec<(usize, NotDecoded)>, DataError> {
    let looked_at: Vec<_> = images.par_iter().map(|image| look_at(image, check, loading)).collect();
    let mut wrong = Vec::new();
    for (index, (image, digest)) in images.into_iter().zip(looked_at).enumerate() {
        match digest {
            Ok(digest) => {
                let NewImage { bytes, label, name, work } = image;
                // A reader holds the file as well.
                let work = work.saturating_add(bytes.len() as u64);
                samples.inputs.push([writer.push(&NewRecord { bytes, digest, name, work })?]);
                samples.targets.push([label]);
            }
            Err(reason) => wrong.push((index, reason)),
        }
    }
    Ok(wrong)
}

/// The digest of an image, which can be decoded if `check` asks for that.
fn look_at(image: &NewImage<'_>, check: Option<Form>, loading: &Loading) -> Result<Digest, NotDecoded> {
    loading.check().map_err(|cancelled| NotDecoded::Other(cancelled.into()))?;
    if let Some(form) = check {
        decode::decode(image.bytes, loading.limit(), |facts| {
            form.accept(facts)?;
            loading.lend_in_turn(image.work).map_err(NotDecoded::Other)
        })?;
    }
    Ok(Digest::of(image.bytes))
}
