//! Decodes PNG and JPEG from untrusted bytes: sizes are checked before memory is allocated for them.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use png::{ColorType, Limits, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most bytes of one image's pixels: more than any photograph for training has.
const MAX_PIXELS: u64 = 1 << 26;

/// Why an image cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageProblem {
    /// The first bytes are of neither format.
    #[error("neither PNG nor JPEG: it begins with the bytes {0:02x?}")]
    Format(Vec<u8>),
    /// The image's bytes are damaged.
    #[error("damaged {format}: {reason}")]
    Damaged {
        /// Name of the format, PNG or JPEG.
        format: &'static str,
        /// Error of the decoder.
        reason: String,
    },
    /// The image has a colour type that is not supported.
    #[error("colours {0}, expected grey or RGB")]
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

/// Size and channels of an image, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// 1 for grey, 3 for RGB.
    pub(crate) channels: usize,
}

impl Header {
    /// Bytes of the pixels; at least one, as sizes are checked.
    pub(super) fn size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Bytes of the pixels of a header that may not have been checked.
    pub(super) fn bytes(&self) -> u64 {
        let sides = (self.height as u64).saturating_mul(self.width as u64);
        sides.saturating_mul(self.channels as u64)
    }
}

/// A decoded image: pixels [height, width, channels].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) header: Header,
    pub(super) pixels: Vec<u8>,
}

pub(super) fn header(bytes: &[u8], limit: u64) -> Result<Header, ImageProblem> {
    guarded(bytes, |format| match format {
        Format::Png => open_png(bytes, limit).map(|(_, header)| header),
        Format::Jpeg => open_jpeg(bytes, limit).map(|(_, header)| header),
    })
}

/// Decodes an image if `accept` allows its header, which is asked before memory is allocated. Returns with the image
/// what `accept` did.
pub(super) fn decode<A, E: From<ImageProblem>>(
    bytes: &[u8],
    limit: u64,
    accept: impl FnOnce(&Header) -> Result<A, E>,
) -> Result<(Image, A), E> {
    guarded(bytes, |format| match format {
        Format::Png => {
            let (decoder, header) = open_png(bytes, limit)?;
            let accepted = accept(&header)?;
            Ok((decode_png(decoder, header)?, accepted))
        }
        Format::Jpeg => {
            let (decoder, header) = open_jpeg(bytes, limit)?;
            let accepted = accept(&header)?;
            Ok((decode_jpeg(decoder, header)?, accepted))
        }
    })
}

#[derive(Clone, Copy)]
enum Format {
    Png,
    Jpeg,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
        }
    }
}

/// Chooses the decoder by the first bytes. If a decoder panics on malformed bytes, they are refused as damaged.
fn guarded<T, E: From<ImageProblem>>(
    bytes: &[u8],
    read: impl FnOnce(Format) -> Result<T, E>,
) -> Result<T, E> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', ..] => Format::Png,
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        _ => return Err(ImageProblem::Format(bytes.iter().copied().take(4).collect()).into()),
    };
    catch_unwind(AssertUnwindSafe(|| read(format)))
        .unwrap_or_else(|_| Err(damaged(format, &"not decodable").into()))
}

fn damaged(format: Format, reason: &dyn std::fmt::Display) -> ImageProblem {
    ImageProblem::Damaged { format: format.name(), reason: reason.to_string() }
}

fn check_size(header: Header, limit: u64) -> Result<Header, ImageProblem> {
    let Header { height, width, channels } = header;
    if height == 0 || width == 0 {
        return Err(ImageProblem::Empty { width, height });
    }
    let limit = limit.min(MAX_PIXELS);
    let size = (height as u64).checked_mul(width as u64).and_then(|size| size.checked_mul(channels as u64));
    match size {
        Some(size) if size <= limit => Ok(header),
        _ => Err(ImageProblem::TooLarge { width, height, limit }),
    }
}

type PngDecoder<'a> = png::Decoder<Cursor<&'a [u8]>>;

/// A PNG decoder that has read the image's header only, and that header.
fn open_png(bytes: &[u8], limit: u64) -> Result<(PngDecoder<'_>, Header), ImageProblem> {
    let limits = Limits { bytes: limit.min(MAX_PIXELS) as usize };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let info = decoder.read_header_info().map_err(|error| damaged(Format::Png, &error))?;
    let (height, width) = (info.height as usize, info.width as usize);
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
        ColorType::Rgb | ColorType::Rgba | ColorType::Indexed => 3,
    };
    let header = check_size(Header { height, width, channels }, limit)?;
    Ok((decoder, header))
}

fn decode_png(decoder: PngDecoder<'_>, header: Header) -> Result<Image, ImageProblem> {
    let in_png = |error: png::DecodingError| damaged(Format::Png, &error);
    let mut reader = decoder.read_info().map_err(in_png)?;
    // Samples of a pixel, including opacity.
    let samples = match (reader.output_color_type().0, header.channels) {
        (ColorType::Grayscale, 1) => 1,
        (ColorType::GrayscaleAlpha, 1) => 2,
        (ColorType::Rgb, 3) => 3,
        (ColorType::Rgba, 3) => 4,
        (colours, _) => return Err(ImageProblem::Colours(format!("{colours:?}"))),
    };
    let size = header.height * header.width * samples;
    if reader.output_buffer_size() != Some(size) {
        return Err(damaged(Format::Png, &"its rows do not have the size that its header says"));
    }
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(in_png)?;
    reader.finish().map_err(in_png)?;
    if samples > header.channels {
        // Opacity is dropped, as the usual readers of data sets do.
        pixels = pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..header.channels]).copied().collect();
    }
    Ok(Image { header, pixels })
}

type JpegReader<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

fn open_jpeg(bytes: &[u8], limit: u64) -> Result<(JpegReader<'_>, Header), ImageProblem> {
    // Otherwise the decoder would make up the missing pixels.
    if !is_whole_jpeg(bytes) {
        return Err(damaged(Format::Jpeg, &"truncated: it has no end"));
    }
    let options = DecoderOptions::default().set_strict_mode(true).set_use_unsafe(false);
    let options = options.set_max_width(1 << 16).set_max_height(1 << 16);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| damaged(Format::Jpeg, &error))?;
    let (colours, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => (ColorSpace::RGB, 3),
        other => {
            return Err(ImageProblem::Colours(
                other.map_or("unknown".into(), |colours| format!("{colours:?}")),
            ));
        }
    };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let size = decoder.dimensions();
    let (width, height) = size.ok_or_else(|| damaged(Format::Jpeg, &"its header has no size"))?;
    let header = check_size(Header { height, width, channels }, limit)?;
    Ok((decoder, header))
}

/// Whether an end marker follows the first scan. It cannot occur within the scan itself; everything before the scan is
/// skipped, since an embedded preview may have an end marker of its own.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
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

fn decode_jpeg(mut decoder: JpegReader<'_>, header: Header) -> Result<Image, ImageProblem> {
    if decoder.output_buffer_size() != Some(header.size()) {
        return Err(damaged(Format::Jpeg, &"its pixels do not have the size that its header says"));
    }
    let mut pixels = vec![0; header.size()];
    decoder.decode_into(&mut pixels).map_err(|error| damaged(Format::Jpeg, &error))?;
    Ok(Image { header, pixels })
}

#[cfg(test)]
mod tests;
