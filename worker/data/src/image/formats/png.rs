//! PNG, in all its colours and depths.

use std::io::Cursor;

use png::{BitDepth, ColorType, Limits, Transformations};

use super::{Format, Opened, checked, without_opacity};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};
use crate::image::orientation::Orientation;

/// An opened PNG: the decoder has read everything before the pixels.
pub(super) struct Png<'a> {
    reader: png::Reader<Cursor<&'a [u8]>>,
    facts: Facts,
    /// Values of a pixel, including opacity.
    samples: usize,
}

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<Png<'_>, ImageProblem> {
    let limits = Limits { bytes: limit as usize };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let info = decoder.read_header_info().map_err(damaged)?;
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
        ColorType::Rgb | ColorType::Rgba | ColorType::Indexed => 3,
    };
    let depth = if info.bit_depth == BitDepth::Sixteen { Depth::Sixteen } else { Depth::Eight };
    let (height, width) = (info.height as usize, info.width as usize);
    let stored = checked(Header { height, width, channels, depth }, limit)?;
    let reader = decoder.read_info().map_err(damaged)?;
    let samples = match (reader.output_color_type().0, channels) {
        (ColorType::Grayscale, 1) => 1,
        (ColorType::GrayscaleAlpha, 1) => 2,
        (ColorType::Rgb, 3) => 3,
        (ColorType::Rgba, 3) => 4,
        (colours, _) => return Err(ImageProblem::Colours(format!("{colours:?}"))),
    };
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.map(Orientation::of_exif).unwrap_or_default();
    Ok(Png { reader, facts: Facts { stored, orientation, has_opacity: samples > channels }, samples })
}

fn damaged(error: png::DecodingError) -> ImageProblem {
    Format::Png.damaged(&error)
}

impl Opened for Png<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let Header { height, width, channels, depth } = self.facts.stored;
        let bytes = if depth == Depth::Sixteen { 2 } else { 1 };
        let size = height * width * self.samples * bytes;
        if self.reader.output_buffer_size() != Some(size) {
            return Err(Format::Png.damaged(&"its rows do not have the size that its header says"));
        }
        let mut values = vec![0; size];
        self.reader.next_frame(&mut values).map_err(damaged)?;
        self.reader.finish().map_err(damaged)?;
        Ok(match depth {
            Depth::Eight => Pixels::Eight(without_opacity(values, self.samples, channels)),
            Depth::Sixteen => {
                let wide = values.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
                Pixels::Sixteen(without_opacity(wide, self.samples, channels))
            }
        })
    }
}
