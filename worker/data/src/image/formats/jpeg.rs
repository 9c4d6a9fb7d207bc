//! JPEG: baseline and progressive, in grey, YCbCr, RGB, CMYK and YCCK. The last two are taken as Adobe writes them, with
//! inverted inks, as the usual readers do.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Format, MAX_SIDE, Opened, checked};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};
use crate::image::orientation::Orientation;

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// An opened JPEG.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: Decoder<'a>,
    facts: Facts,
}

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<Jpeg<'_>, ImageProblem> {
    let (decoder, channels) = decoder(bytes)?;
    let size = decoder.dimensions();
    let (width, height) = size.ok_or_else(|| Format::Jpeg.damaged(&"its header has no size"))?;
    let stored = checked(Header { height, width, channels, depth: Depth::Eight }, limit)?;
    let orientation = decoder.exif().map(|exif| Orientation::of_exif(exif)).unwrap_or_default();
    Ok(Jpeg { bytes, decoder, facts: Facts { stored, orientation, has_opacity: false } })
}

/// A decoder that has read the header, and the number of channels that it gives.
fn decoder(bytes: &[u8]) -> Result<(Decoder<'_>, usize), ImageProblem> {
    let options = DecoderOptions::default().set_strict_mode(true).set_use_unsafe(false);
    let options = options.set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| Format::Jpeg.damaged(&error))?;
    let (colours, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        Some(ColorSpace::YCbCr | ColorSpace::RGB | ColorSpace::CMYK | ColorSpace::YCCK) => {
            (ColorSpace::RGB, 3)
        }
        other => {
            let found = other.map_or("unknown".to_owned(), |colours| format!("{colours:?}"));
            return Err(ImageProblem::Colours(found));
        }
    };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    Ok((decoder, channels))
}

fn pixels(decoder: &mut Decoder<'_>, size: usize) -> Result<Vec<u8>, ImageProblem> {
    if decoder.output_buffer_size() != Some(size) {
        return Err(Format::Jpeg.damaged(&"its pixels do not have the size that its header says"));
    }
    let mut pixels = vec![0; size];
    decoder.decode_into(&mut pixels).map_err(|error| Format::Jpeg.damaged(&error))?;
    Ok(pixels)
}

impl Opened for Jpeg<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let size = self.facts.stored.size();
        if is_whole(self.bytes) {
            return pixels(&mut self.decoder, size).map(Pixels::Eight);
        }
        // The decoder would make up missing pixels from what follows. None is missing if that makes no difference.
        let continued = |filling| {
            let bytes = with_end(self.bytes, filling);
            decoder(&bytes).and_then(|(mut decoder, _)| pixels(&mut decoder, size))
        };
        match (continued(0x00), continued(0xaa)) {
            (Ok(pixels), Ok(others)) if pixels == others => Ok(Pixels::Eight(pixels)),
            _ => Err(Format::Jpeg.damaged(&"truncated: pixels and the end are missing")),
        }
    }
}

/// The bytes of a file without an end, then some others and an end.
fn with_end(bytes: &[u8], filling: u8) -> Vec<u8> {
    const FILLING: usize = 32;
    // The beginning of a marker would be one with what follows.
    let kept = bytes.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
    [&bytes[..kept], &[filling; FILLING], &[0xff, 0xd9]].concat()
}

/// Whether an end marker follows the first scan. It cannot occur within the scan itself; everything before the scan is
/// skipped, since an embedded preview may have an end marker of its own.
fn is_whole(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    let Some(mut rest) = bytes.get(2..) else { return false };
    while let [0xff, marker, content @ ..] = rest {
        match (marker, content) {
            // Fill bytes, and markers without content.
            (0xff, _) => rest = &rest[1..],
            (0x01 | 0xd0..=0xd8, _) => rest = content,
            (&SCAN, _) => return content.windows(2).any(|pair| pair == [0xff, 0xd9]),
            (_, [high, low, ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(behind) = content.get(length..) else { return false };
                rest = behind;
            }
            _ => return false,
        }
    }
    false
}
