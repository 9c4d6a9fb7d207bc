//! WebP, lossy and lossless; of an animation the first frame.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::{Format, Opened, checked, without_opacity};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};
use crate::image::orientation::Orientation;

/// Bytes before the chunks of a file, and before those of a frame of an animation.
const RIFF: usize = 12;
const FRAME: usize = 16;
/// Where width and height stand in a lossy frame (RFC 6386, 9.1).
const SIZES: std::ops::Range<usize> = 6..10;

/// An opened WebP file.
pub(super) struct WebP<'a> {
    decoder: WebPDecoder<Cursor<&'a [u8]>>,
    facts: Facts,
}

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<WebP<'_>, ImageProblem> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decoder.set_memory_limit(limit as usize);
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    let stored = checked(Header { height, width, channels: 3, depth: Depth::Eight }, limit)?;
    if !frames_fit(bytes.get(RIFF..).unwrap_or_default(), stored) {
        return Err(Format::WebP.damaged(&"a frame is larger than the image"));
    }
    let exif = decoder.exif_metadata().map_err(damaged)?;
    let orientation = exif.as_deref().map(Orientation::of_exif).unwrap_or_default();
    let has_opacity = decoder.has_alpha();
    Ok(WebP { decoder, facts: Facts { stored, orientation, has_opacity } })
}

/// Whether no lossy frame among these chunks claims more pixels than the image has: the decoder compares the two only
/// after it has decoded the frame.
fn frames_fit(mut chunks: &[u8], image: Header) -> bool {
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        let [name @ .., a, b, c, d] = header;
        let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let content = rest.get(..size).unwrap_or(rest);
        let fits = match name {
            b"ANMF" => frames_fit(content.get(FRAME..).unwrap_or_default(), image),
            b"VP8 " => content.get(SIZES).is_none_or(|sizes| {
                let side = |at: usize| usize::from(u16::from_le_bytes([sizes[at], sizes[at + 1]]) & 0x3fff);
                side(0) <= image.width && side(2) <= image.height
            }),
            _ => true,
        };
        if !fits {
            return false;
        }
        chunks = rest.get(size.saturating_add(size % 2)..).unwrap_or_default();
    }
    true
}

fn damaged(error: image_webp::DecodingError) -> ImageProblem {
    Format::WebP.damaged(&error)
}

impl Opened for WebP<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let samples = if self.facts.has_opacity { 4 } else { 3 };
        let mut values = vec![0; self.facts.stored.height * self.facts.stored.width * samples];
        self.decoder.read_image(&mut values).map_err(damaged)?;
        Ok(Pixels::Eight(without_opacity(values, samples, 3)))
    }
}
