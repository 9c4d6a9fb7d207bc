//! GIF: the first frame.

use std::io::Cursor;
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::{Format, Opened, checked};
use crate::image::decode::ImageProblem;
use crate::image::header::{Depth, Facts, Header, Pixels};

/// An opened GIF.
pub(super) struct Gif<'a> {
    decoder: gif::Decoder<Cursor<&'a [u8]>>,
    stored: Header,
}

pub(super) fn open(bytes: &[u8], limit: u64) -> Result<Gif<'_>, ImageProblem> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.check_frame_consistency(true);
    options.set_memory_limit(MemoryLimit::Bytes(NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN)));
    let decoder = options.read_info(Cursor::new(bytes)).map_err(damaged)?;
    let (height, width) = (decoder.height().into(), decoder.width().into());
    let stored = checked(Header { height, width, channels: 3, depth: Depth::Eight }, limit)?;
    Ok(Gif { decoder, stored })
}

fn damaged(error: gif::DecodingError) -> ImageProblem {
    Format::Gif.damaged(&error)
}

impl Opened for Gif<'_> {
    fn facts(&self) -> Facts {
        Facts::plain(self.stored)
    }

    /// A frame may cover a part of the screen; the rest is transparent or the first colour.
    fn decode(mut self: Box<Self>) -> Result<Pixels, ImageProblem> {
        let global = self.decoder.global_palette().map(<[u8]>::to_vec);
        let frame = self.decoder.read_next_frame().map_err(damaged)?;
        let frame = frame.ok_or_else(|| Format::Gif.damaged(&"it has no frame"))?;
        let palette = frame.palette.as_ref().or(global.as_ref());
        let palette = palette.ok_or_else(|| Format::Gif.damaged(&"it has no colours"))?;
        let colour =
            |index: u8| palette.as_chunks::<3>().0.get(usize::from(index)).copied().unwrap_or_default();
        let size = self.stored.height * self.stored.width;
        let mut pixels = colour(frame.transparent.unwrap_or(0)).repeat(size);
        let (top, left, width) = (usize::from(frame.top), usize::from(frame.left), usize::from(frame.width));
        for (row, indices) in frame.buffer.chunks_exact(width.max(1)).enumerate() {
            let start = ((top + row) * self.stored.width + left) * 3;
            let target = pixels.get_mut(start..start + 3 * width);
            let target = target.ok_or_else(|| Format::Gif.damaged(&"its frame leaves the screen"))?;
            for (pixel, &index) in target.as_chunks_mut::<3>().0.iter_mut().zip(indices) {
                *pixel = colour(index);
            }
        }
        Ok(Pixels::Eight(pixels))
    }
}
