//! BMP of 8, 24 and 32 bits, with and without a palette. Other kinds are not read: the decoder gives other pixels than the
//! usual readers for images of 1 bit, and nothing could be compared for the rest.

use zune_bmp::BmpDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Format, MAX_SIDE, Opened, checked, without_opacity};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};

/// An opened BMP file.
pub(super) struct Bmp<'a> {
    decoder: BmpDecoder<ZCursor<&'a [u8]>>,
    stored: Header,
    /// Values of a pixel, including opacity.
    samples: usize,
}

/// Bytes of the oldest header, which has no compression, and the methods of compression without any and with masks for
/// the channels.
const OLDEST: u32 = 12;
const PLAIN: [u32; 2] = [0, 3];

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<Bmp<'_>, ImageProblem> {
    check_kind(bytes)?;
    let options = DecoderOptions::default().set_strict_mode(true).set_use_unsafe(false);
    let options = options.set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder = BmpDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(refused)?;
    let (samples, channels) = match decoder.colorspace() {
        Some(ColorSpace::Luma) => (1, 1),
        Some(ColorSpace::RGB) => (3, 3),
        Some(ColorSpace::RGBA) => (4, 3),
        other => {
            let found = other.map_or("unknown".to_owned(), |colours| format!("{colours:?}"));
            return Err(ImageProblem::Colours(found));
        }
    };
    let size = decoder.dimensions();
    let (width, height) = size.ok_or_else(|| damaged(&"its header has no size"))?;
    let stored = checked(Header { height, width, channels, depth: Depth::Eight }, limit)?;
    Ok(Bmp { decoder, stored, samples })
}

/// Refuses kinds that are not read, as far as the header is there.
fn check_kind(bytes: &[u8]) -> Result<(), ImageProblem> {
    let short = |at: usize| bytes.get(at..)?.first_chunk().map(|pair| u16::from_le_bytes(*pair));
    let long = |at: usize| bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
    let (bits, compression) = match long(14) {
        Some(OLDEST) => (short(24), Some(0)),
        _ => (short(28), long(30)),
    };
    let unread = |reason: String| Err(ImageProblem::Unread { format: Format::Bmp.name(), reason });
    match (bits, compression) {
        (Some(bits), _) if ![8, 24, 32].contains(&bits) => unread(format!("{bits} bits of a pixel")),
        (_, Some(method)) if !PLAIN.contains(&method) => unread(format!("compressed by method {method}")),
        _ => Ok(()),
    }
}

/// An error of the decoder, which has a text for people as its debug form alone.
fn refused(error: zune_bmp::BmpDecoderErrors) -> ImageProblem {
    damaged(&format!("{error:?}"))
}

fn damaged(reason: &dyn std::fmt::Display) -> ImageProblem {
    Format::Bmp.damaged(reason)
}

impl Opened for Bmp<'_> {
    fn facts(&self) -> Facts {
        Facts { has_opacity: self.samples > self.stored.channels, ..Facts::plain(self.stored) }
    }

    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let Header { height, width, channels, .. } = self.stored;
        let values = self.decoder.decode().map_err(refused)?;
        if values.len() != height * width * self.samples {
            return Err(damaged(&"its pixels do not have the size that its header says"));
        }
        Ok(Pixels::Eight(without_opacity(values, self.samples, channels)))
    }
}
