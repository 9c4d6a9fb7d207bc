//! TIFF: the first image of a file, in grey of 1 to 16 bits, RGB or CMYK; without compression, or with
//! LZW, deflate or PackBits.

mod directory;

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{Format, Opened, checked, without_opacity};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};
use crate::image::orientation::Orientation;

/// Most bytes of the value of a tag, such as the places of the strips.
const MAX_TAG: usize = 1 << 20;

/// An opened TIFF.
pub(super) struct Tiff<'a> {
    decoder: Decoder<Cursor<&'a [u8]>>,
    colours: ColorType,
    facts: Facts,
}

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<Tiff<'_>, ImageProblem> {
    let mut limits = Limits::default();
    // Four values of a pixel, of which three are kept.
    limits.decoding_buffer_size = limit.saturating_mul(2) as usize;
    limits.intermediate_buffer_size = limit.saturating_mul(2) as usize;
    limits.ifd_value_size = MAX_TAG;
    if let Some((tag, values)) = directory::excessive(bytes) {
        return Err(Format::Tiff.damaged(&format_args!("{tag:?} with {values} values")));
    }
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    let colours = decoder.colortype().map_err(damaged)?;
    let (channels, depth, has_opacity) = match colours {
        ColorType::Gray(1 | 2 | 4 | 8) => (1, Depth::Eight, false),
        ColorType::Gray(16) => (1, Depth::Sixteen, false),
        ColorType::GrayA(8) | ColorType::Multiband { bit_depth: 8, num_samples: 2 } => {
            (1, Depth::Eight, true)
        }
        ColorType::GrayA(16) | ColorType::Multiband { bit_depth: 16, num_samples: 2 } => {
            (1, Depth::Sixteen, true)
        }
        ColorType::RGB(8) | ColorType::CMYK(8) => (3, Depth::Eight, false),
        ColorType::RGB(16) => (3, Depth::Sixteen, false),
        ColorType::RGBA(8) => (3, Depth::Eight, true),
        ColorType::RGBA(16) => (3, Depth::Sixteen, true),
        other => return Err(ImageProblem::Colours(format!("{other:?}"))),
    };
    let stored = Header { height: height as usize, width: width as usize, channels, depth };
    let stored = checked(stored, limit)?;
    let orientation = decoder.find_tag_unsigned::<u64>(Tag::Orientation).map_err(damaged)?;
    let orientation = orientation.map(Orientation::of_tag).unwrap_or_default();
    Ok(Tiff { decoder, colours, facts: Facts { stored, orientation, has_opacity } })
}

fn damaged(error: TiffError) -> ImageProblem {
    match error {
        TiffError::UnsupportedError(kind) => {
            ImageProblem::Unread { format: Format::Tiff.name(), reason: kind.to_string() }
        }
        error => Format::Tiff.damaged(&error),
    }
}

impl Opened for Tiff<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let mut read = DecodingResult::U8(Vec::new());
        let layout = self.decoder.read_image_to_buffer(&mut read).map_err(damaged)?;
        if layout.planes > 1 {
            return Err(ImageProblem::Colours("in planes of their own".to_owned()));
        }
        let Header { channels, .. } = self.facts.stored;
        let samples = usize::from(self.colours.num_samples());
        let pixels = match read {
            DecodingResult::U8(values) => Pixels::Eight(match self.colours {
                ColorType::Gray(bits @ (1 | 2 | 4)) => self.grey(&values, bits),
                ColorType::CMYK(_) => values.as_chunks::<4>().0.iter().flat_map(rgb).collect(),
                _ => without_opacity(values, samples, channels),
            }),
            DecodingResult::U16(values) => Pixels::Sixteen(without_opacity(values, samples, channels)),
            _ => return Err(ImageProblem::Colours(format!("{:?} that are no whole numbers", self.colours))),
        };
        let size = match &pixels {
            Pixels::Eight(values) => values.len(),
            Pixels::Sixteen(values) => values.len(),
        };
        let whole = size == self.facts.stored.size();
        whole
            .then_some(pixels)
            .ok_or_else(|| Format::Tiff.damaged(&"its pixels do not have the size that its header says"))
    }
}

impl Tiff<'_> {
    /// The values of pixels of fewer than 8 bits, whose rows begin at whole bytes.
    fn unpacked(&self, values: &[u8], bits: u8) -> Vec<u8> {
        let width = self.facts.stored.width;
        let bits = usize::from(bits);
        let row = (width * bits).div_ceil(8);
        let mask = ((1_u16 << bits) - 1) as u8;
        let value = |row: &[u8], place: usize| {
            let first = place * bits;
            row[first / 8] >> (8 - bits - first % 8) & mask
        };
        values.chunks_exact(row).flat_map(|row| (0..width).map(move |place| value(row, place))).collect()
    }

    fn grey(&self, values: &[u8], bits: u8) -> Vec<u8> {
        let greatest = (1_u16 << bits) - 1;
        let scaled = |value: u8| (u16::from(value) * 255 / greatest) as u8;
        self.unpacked(values, bits).into_iter().map(scaled).collect()
    }
}

/// The colour that inks on white give, if each takes its share of the light.
fn rgb(&[cyan, magenta, yellow, black]: &[u8; 4]) -> [u8; 3] {
    let light = u16::from(255 - black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u16::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    })
}
