//! Decodes images in parallel to where their pixels stay.

use rayon::prelude::*;

use super::Encoded;
use crate::DataError;
use crate::image::decode::{self, ImageProblem};
use crate::image::form::Form;
use crate::image::header::Value;
use crate::loading::Loading;
use crate::samples::Samples;

/// Why an image was not decoded.
pub(super) enum NotDecoded {
    Image(ImageProblem),
    Other(DataError),
}

impl From<ImageProblem> for NotDecoded {
    fn from(problem: ImageProblem) -> Self {
        Self::Image(problem)
    }
}

/// Decodes images to where their pixels stay, and gives back the room of those that could not be decoded.
pub(super) fn decode_all<T: Value>(
    samples: &mut Samples<T>,
    images: &[Encoded<'_>],
    form: Form,
    loading: &Loading,
) -> Vec<(usize, NotDecoded)> {
    images.iter().for_each(|image| samples.targets.push([image.label]));
    let places = samples.inputs.add(images.len()).into_par_iter();
    let wrong: Vec<_> = places
        .zip(images)
        .enumerate()
        .filter_map(|(place, (pixels, image))| {
            decode_to(pixels, image.bytes, form, loading).err().map(|reason| (place, reason))
        })
        .collect();
    if !wrong.is_empty() {
        let mut keep = vec![true; images.len()];
        wrong.iter().for_each(|&(place, _)| keep[place] = false);
        samples.inputs.retain_last(&keep);
        samples.targets.retain_last(&keep);
    }
    wrong
}

/// Decodes an image to where its pixels stay.
fn decode_to<T: Value>(
    pixels: &mut [T],
    bytes: &[u8],
    form: Form,
    loading: &Loading,
) -> Result<(), NotDecoded> {
    loading.check().map_err(|cancelled| NotDecoded::Other(cancelled.into()))?;
    let (image, _lent) = decode::decode(bytes, loading.limit(), |facts| {
        form.accept(facts)?;
        loading.lend_in_turn(form.work(facts)).map_err(NotDecoded::Other)
    })?;
    pixels.copy_from_slice(&form.bring::<T>(image));
    Ok(())
}
