//! Decodes images from untrusted bytes: sizes are checked before memory is allocated for them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::formats::{Format, NAMES};
use super::header::{Facts, Image};
use crate::foreign::{START, in_place_of_bytes};

/// Why an image cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageProblem {
    /// The first bytes are of no format that is read.
    #[error("{0}; expected an image in {NAMES}")]
    Format(ForeignBytes),
    /// The image's bytes are damaged.
    #[error("damaged {format}: {reason}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// Error of the decoder.
        reason: String,
    },
    /// The image is of a kind that its decoder does not read.
    #[error("{format} of a kind that is not read: {reason}")]
    Unread {
        /// Name of the format.
        format: &'static str,
        /// Error of the decoder.
        reason: String,
    },
    /// The image has a colour type that is not supported.
    #[error("colours {0}, expected grey or RGB of 8 or 16 bits")]
    Colours(String),
    /// The image is larger than the limit.
    #[error("{width} × {height} pixels are more than the {limit} bytes that an image may take")]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Most bytes of an image's pixels.
        limit: u64,
    },
    /// The image has no pixels.
    #[error("{width} × {height} pixels, expected at least one")]
    Empty {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The image is smaller than the part that is cut out of it.
    #[error(
        "{found_width} × {found_height} pixels, of which center_crop = [{height}, {width}] cannot be cut out"
    )]
    Crop {
        /// Width of this image in pixels, after resizing.
        found_width: usize,
        /// Height of this image in pixels, after resizing.
        found_height: usize,
        /// Width of the part in pixels.
        width: usize,
        /// Height of the part in pixels.
        height: usize,
    },
    /// The image's size differs from that of the first image; all images of a data set have one size.
    #[error(
        "{found_width} × {found_height} pixels, expected {width} × {height} as in the first image; resize = [height, width] brings all to one size"
    )]
    Size {
        /// Width of this image in pixels.
        found_width: usize,
        /// Height of this image in pixels.
        found_height: usize,
        /// Width of the other images in pixels.
        width: usize,
        /// Height of the other images in pixels.
        height: usize,
    },
}

impl ImageProblem {
    /// Whether the file is damaged, so that `on_damaged` decides. Images of another size or kind are none of its
    /// business: they are in order, and the job is not.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Format(_) | Self::Damaged { .. } | Self::Empty { .. } => true,
            Self::Unread { .. }
            | Self::Colours(_)
            | Self::TooLarge { .. }
            | Self::Size { .. }
            | Self::Crop { .. } => false,
        }
    }
}

/// What the bytes of an image are instead: its display says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignBytes(Vec<u8>);

impl ForeignBytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().take(START).collect())
    }
}

impl std::fmt::Display for ForeignBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match in_place_of_bytes(&self.0) {
            Some(found) => f.write_str(found),
            None => write!(f, "it begins with the bytes {:02x?}", &self.0[..self.0.len().min(4)]),
        }
    }
}

/// What the header of an image says.
pub(super) fn facts(bytes: &[u8], limit: u64) -> Result<Facts, ImageProblem> {
    guarded(bytes, |format| Ok(format.open(bytes, limit)?.facts()))
}

/// Decodes an image if `accept` allows its facts, which is asked before memory is allocated. Returns with the image
/// what `accept` did.
pub(super) fn decode<A, E: From<ImageProblem>>(
    bytes: &[u8],
    limit: u64,
    accept: impl FnOnce(&Facts) -> Result<A, E>,
) -> Result<(Image, A), E> {
    guarded(bytes, |format| {
        let opened = format.open(bytes, limit)?;
        let facts = opened.facts();
        let accepted = accept(&facts)?;
        Ok((Image { facts, pixels: opened.decode()? }, accepted))
    })
}

/// Chooses the decoder by the first bytes. If a decoder panics on malformed bytes, they are refused as damaged.
fn guarded<T, E: From<ImageProblem>>(
    bytes: &[u8],
    read: impl FnOnce(Format) -> Result<T, E>,
) -> Result<T, E> {
    let format = Format::of(bytes).ok_or_else(|| ImageProblem::Format(ForeignBytes::new(bytes)))?;
    catch_unwind(AssertUnwindSafe(|| read(format)))
        .unwrap_or_else(|_| Err(format.damaged(&"not decodable").into()))
}

#[cfg(test)]
mod tests;
