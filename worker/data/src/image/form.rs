//! The form that all images of a data set share, size and channels, and the conversion of an image to it in integers.

use lookbehind_common::job::JobError;
use serde::Deserialize;

use super::decode::{Header, Image, ImageProblem};
use crate::InputSpec;

/// Bytes of a decoder's tables and buffers.
const DECODER: u64 = 1 << 19;
/// Longest side that images are resized to.
const MAX_SIDE: usize = 1 << 13;

/// A job's parameters of the form; by default the form is that of the first image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FormParameters {
    /// Height and width; `None` leaves images as they are.
    pub(crate) resize: Option<[usize; 2]>,
    /// 1 for grey, 3 for RGB; `None` takes the channels of the first image.
    pub(crate) channels: Option<usize>,
}

impl FormParameters {
    /// Refuses parameters that no image can have.
    pub(crate) fn check(&self) -> Result<(), JobError> {
        if let Some(channels) = self.channels.filter(|channels| ![1, 3].contains(channels)) {
            return Err(JobError::new("data.channels", &format!("expected 1 or 3, found {channels}")));
        }
        match self.resize {
            Some(size) if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) => {
                let problem = format!("expected [height, width] of 1 to {MAX_SIDE} pixels, found {size:?}");
                Err(JobError::new("data.resize", &problem))
            }
            _ => Ok(()),
        }
    }

    /// The input spec, if size, channels and classes are known before any image is read.
    pub(crate) fn input_spec(
        &self,
        size: Option<[usize; 2]>,
        channels: Option<usize>,
        classes: Option<usize>,
    ) -> Result<Option<InputSpec>, JobError> {
        self.check()?;
        Ok(match (self.channels.or(channels), self.resize.or(size), classes) {
            (Some(channels), Some([height, width]), Some(classes)) => {
                Some(InputSpec { input_shape: vec![channels, height, width], classes })
            }
            _ => None,
        })
    }

    /// The form of a data set that begins with this image.
    pub(super) fn of_first(&self, first: Header) -> Form {
        let [height, width] = self.resize.unwrap_or([first.height, first.width]);
        let channels = self.channels.unwrap_or(first.channels);
        Form { shape: Header { height, width, channels }, resizes: self.resize.is_some() }
    }
}

/// Size and channels of all images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) shape: Header,
    resizes: bool,
}

impl Form {
    /// Checks that an image can be converted to this form.
    pub(super) fn accept(&self, found: &Header) -> Result<(), ImageProblem> {
        let Header { height, width, .. } = self.shape;
        if self.resizes || (found.height, found.width) == (height, width) {
            return Ok(());
        }
        Err(ImageProblem::Size { found_width: found.width, found_height: found.height, width, height })
    }

    /// Most bytes that it takes to decode an image with this header and to convert it: a decoder has at most four
    /// copies of the pixels (of progressive JPEG, the coefficients in 16 bits), each conversion has its own.
    pub(super) fn work(&self, found: &Header) -> u64 {
        let rows = 64 * found.width as u64;
        let pixels = found.bytes().saturating_add(self.shape.bytes()).saturating_mul(4);
        pixels.saturating_add(rows + DECODER)
    }

    /// Converts an image; returns its pixels [channels, height, width].
    pub(super) fn bring(&self, image: Image) -> Vec<u8> {
        let image = with_channels(image, self.shape.channels);
        let Header { height, width, channels } = self.shape;
        let image = if (image.header.height, image.header.width) == (height, width) {
            image
        } else {
            resized(&image, height, width)
        };
        planar(&image.pixels, channels)
    }
}

/// Converts grey to RGB with three equal values, and RGB to grey by ITU-R BT.601 with 16 fraction bits.
fn with_channels(image: Image, channels: usize) -> Image {
    let header = Header { channels, ..image.header };
    let pixels = match (image.header.channels, channels) {
        (1, 3) => image.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        (3, 1) => image.pixels.as_chunks::<3>().0.iter().map(grey).collect(),
        _ => return image,
    };
    Image { header, pixels }
}

fn grey(&[red, green, blue]: &[u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + (1 << 15)) >> 16) as u8
}

fn planar(pixels: &[u8], channels: usize) -> Vec<u8> {
    if channels == 1 {
        return pixels.to_vec();
    }
    (0..channels).flat_map(|channel| pixels.iter().skip(channel).step_by(channels).copied()).collect()
}

/// Fraction bits of a position between two pixels.
const BITS: u32 = 11;

/// For each target pixel its position in the source: the two neighbours, and the second one's weight in units of
/// 2^-BITS.
fn positions(source: usize, target: usize) -> Vec<(usize, usize, u32)> {
    let (source, target) = (source as u64, target as u64); // At least 1 each.
    let position = |index: u64| {
        // The centre of the target pixel in the source, (index + 1/2) · source / target − 1/2, clamped to the image.
        let centre = (((2 * index + 1) * source) << BITS) / (2 * target);
        let offset = centre.saturating_sub(1 << (BITS - 1));
        let first = (offset >> BITS).min(source - 1);
        let second = (first + 1).min(source - 1);
        (first as usize, second as usize, (offset & ((1 << BITS) - 1)) as u32)
    };
    (0..target).map(position).collect()
}

/// Resizes by bilinear interpolation between the centres of pixels.
fn resized(image: &Image, height: usize, width: usize) -> Image {
    let Header { height: rows, width: columns, channels } = image.header;
    let across = positions(columns, width);
    let mut pixels = Vec::with_capacity(height * width * channels);
    let pixel = |row: usize, column: usize, channel: usize| {
        u32::from(image.pixels[(row * columns + column) * channels + channel])
    };
    for (above, below, down) in positions(rows, height) {
        for &(left, right, along) in &across {
            for channel in 0..channels {
                let between = |row| {
                    pixel(row, left, channel) * ((1 << BITS) - along) + pixel(row, right, channel) * along
                };
                let value = between(above) * ((1 << BITS) - down) + between(below) * down;
                pixels.push(((value + (1 << (2 * BITS - 1))) >> (2 * BITS)) as u8);
            }
        }
    }
    Image { header: Header { height, width, channels }, pixels }
}

#[cfg(test)]
mod tests;
