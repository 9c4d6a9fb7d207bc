//! The formats of image files. Each opens untrusted bytes by their header alone, checks the size that it claims, and
//! decodes them afterwards.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use super::decode::ImageProblem;
use super::header::{Facts, Header, Pixels};

/// Most bytes of one image's pixels: more than any photograph for training has.
pub(super) const MAX_PIXELS: u64 = 1 << 26;
/// Longest side of an image in pixels.
const MAX_SIDE: usize = 1 << 16;

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bmp,
    Gif,
    Jpeg,
    Png,
    Tiff,
    WebP,
}

/// The names of all formats, for errors.
pub(super) const NAMES: &str = "PNG, JPEG, WebP, GIF, BMP or TIFF";

/// An image whose header was read.
pub(super) trait Opened {
    /// What the header says; its size has been checked.
    fn facts(&self) -> Facts;

    /// Decodes the pixels [height, width, channels] as they are stored, without their opacity.
    fn decode(self: Box<Self>) -> Result<Pixels, ImageProblem>;
}

impl Format {
    /// The format of a file by its first bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x89, b'P', b'N', b'G', ..] => Self::Png,
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::WebP,
            [b'G', b'I', b'F', b'8', ..] => Self::Gif,
            [b'B', b'M', ..] => Self::Bmp,
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
        }
    }

    /// Reads the header. No image that takes more than `limit` bytes is opened.
    pub(super) fn open(self, bytes: &[u8], limit: u64) -> Result<Box<dyn Opened + '_>, ImageProblem> {
        let limit = limit.min(MAX_PIXELS);
        Ok(match self {
            Self::Bmp => Box::new(bmp::open(bytes, limit)?),
            Self::Gif => Box::new(gif::open(bytes, limit)?),
            Self::Jpeg => Box::new(jpeg::open(bytes, limit)?),
            Self::Png => Box::new(png::open(bytes, limit)?),
            Self::Tiff => Box::new(tiff::open(bytes, limit)?),
            Self::WebP => Box::new(webp::open(bytes, limit)?),
        })
    }

    pub(super) fn damaged(self, reason: &dyn std::fmt::Display) -> ImageProblem {
        ImageProblem::Damaged { format: self.name(), reason: reason.to_string() }
    }
}

/// Refuses a size that no image may have.
fn checked(header: Header, limit: u64) -> Result<Header, ImageProblem> {
    let Header { height, width, .. } = header;
    if height == 0 || width == 0 {
        return Err(ImageProblem::Empty { width, height });
    }
    if header.bytes() > limit || height > MAX_SIDE || width > MAX_SIDE {
        return Err(ImageProblem::TooLarge { width, height, limit });
    }
    Ok(header)
}

/// The first `channels` of `samples` values of each pixel: opacity is dropped, as the usual readers of data sets do.
fn without_opacity<T: Copy>(pixels: Vec<T>, samples: usize, channels: usize) -> Vec<T> {
    if samples <= channels {
        return pixels;
    }
    pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..channels]).copied().collect()
}

#[cfg(test)]
mod tests;
