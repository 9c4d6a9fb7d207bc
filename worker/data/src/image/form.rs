//! The form that all images of a data set share, size, channels and depth, and the conversion of an image to it.

use super::decode::ImageProblem;
use super::header::{Depth, Facts, Header, Image, Pixels, Value};
use super::parameters::{FormParameters, Resize};
use super::resize::{self, Interpolation, resized};

/// Bytes of a decoder's tables and buffers.
const DECODER: u64 = 1 << 20;

impl FormParameters {
    /// What a job asks for in addition to the form that the images have.
    pub(super) fn conversion(&self) -> Conversion {
        Conversion {
            resize: self.resize,
            crop: self.center_crop,
            interpolation: self.interpolation,
            turns: self.exif_orientation,
        }
    }
}

/// How an image is converted, whatever its size, channels and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    resize: Option<Resize>,
    crop: Option<[usize; 2]>,
    interpolation: Interpolation,
    /// Whether images are turned as their EXIF data say.
    turns: bool,
}

impl Conversion {
    /// The image with these facts as a reader sees it, before it is resized.
    pub(super) fn seen(&self, facts: &Facts) -> Header {
        if self.turns { facts.upright() } else { facts.stored }
    }

    /// Height and width after resizing, and after the part in the centre was cut out.
    fn sizes(&self, seen: &Header) -> [[usize; 2]; 2] {
        let size = self.resize.map_or([seen.height, seen.width], |resize| resize.of(seen.height, seen.width));
        [size, self.crop.unwrap_or(size)]
    }

    /// Height and width of the converted image.
    pub(super) fn size(&self, seen: &Header) -> [usize; 2] {
        self.sizes(seen)[1]
    }

    /// Whether images are turned as their EXIF data say.
    pub(super) fn turns(&self) -> bool {
        self.turns
    }

    pub(super) fn resizes(&self, seen: &Header) -> bool {
        self.sizes(seen)[0] != [seen.height, seen.width]
    }

    fn check(&self, seen: &Header) -> Result<(), ImageProblem> {
        let [[found_height, found_width], [height, width]] = self.sizes(seen);
        if found_height < height || found_width < width {
            return Err(ImageProblem::Crop { found_width, found_height, width, height });
        }
        Ok(())
    }

    /// Turns, resizes and cuts pixels, and gives them the number of channels; returns them as [channels, height, width].
    fn apply<T: Value>(&self, pixels: Vec<T>, facts: &Facts, channels: usize) -> Vec<T> {
        let Header { height, width, channels: stored, .. } = facts.stored;
        let seen = self.seen(facts);
        let orientation = if self.turns { facts.orientation } else { Default::default() };
        let pixels = orientation.turn(pixels, [height, width], stored);
        let pixels = with_channels(pixels, stored, channels);
        let [size, crop] = self.sizes(&seen);
        let pixels = resized(pixels, [seen.height, seen.width], size, channels, self.interpolation);
        planar(&cut(pixels, size, crop, channels), channels)
    }
}

/// Size, channels and depth of all images, and how each comes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) shape: Header,
    pub(super) conversion: Conversion,
}

impl Form {
    /// The form of a data set of this image alone, with channels that the job gives or the image has.
    pub(super) fn of(facts: &Facts, parameters: &FormParameters) -> Self {
        let conversion = parameters.conversion();
        let seen = conversion.seen(facts);
        let [height, width] = conversion.size(&seen);
        let channels = parameters.channels.unwrap_or(seen.channels);
        Self { shape: Header { height, width, channels, depth: seen.depth }, conversion }
    }

    /// The form that has room for the colours and the depth of both. Sizes are compared elsewhere.
    pub(super) fn with(self, other: Self) -> Self {
        let channels = self.shape.channels.max(other.shape.channels);
        let depth = self.shape.depth.max(other.shape.depth);
        Self { shape: Header { channels, depth, ..self.shape }, ..self }
    }

    /// Checks that an image can be converted to this form.
    pub(super) fn accept(&self, facts: &Facts) -> Result<(), ImageProblem> {
        let seen = self.conversion.seen(facts);
        self.conversion.check(&seen)?;
        let Header { height, width, .. } = self.shape;
        let [found_height, found_width] = self.conversion.size(&seen);
        if [found_height, found_width] == [height, width] {
            return Ok(());
        }
        Err(ImageProblem::Size { found_width, found_height, width, height })
    }

    /// Most bytes that it takes to decode an image and to convert it: a decoder has at most four copies of the pixels
    /// (of progressive JPEG, the coefficients in 16 bits), each conversion has its own.
    pub(super) fn work(&self, facts: &Facts) -> u64 {
        let seen = self.conversion.seen(facts);
        let rows = 64 * facts.stored.width as u64;
        let [size, _] = self.conversion.sizes(&seen);
        let between = Header { height: size[0], width: size[1].max(seen.width), ..self.shape };
        let windows = resize::work([seen.height, seen.width], size);
        let stored = Header { channels: seen.channels.max(self.shape.channels), ..facts.stored };
        let pixels = stored.bytes().saturating_add(between.bytes()).saturating_mul(4);
        pixels.saturating_add(rows + windows + DECODER)
    }

    /// Most bytes that [`Self::work`] can say of an image, however many colours and bits others bring into the form.
    pub(super) fn most_work(&self, facts: &Facts) -> u64 {
        let shape = Header { channels: 3, depth: Depth::Sixteen, ..self.shape };
        Self { shape, ..*self }.work(facts)
    }

    /// Converts an image; returns its pixels [channels, height, width].
    pub(super) fn bring<T: Value>(&self, image: Image) -> Vec<T> {
        let channels = self.shape.channels;
        match image.pixels {
            Pixels::Eight(pixels) => {
                let pixels = self.conversion.apply(pixels, &image.facts, channels);
                pixels.into_iter().map(T::of_eight).collect()
            }
            Pixels::Sixteen(pixels) => {
                let pixels = self.conversion.apply(pixels, &image.facts, channels);
                pixels.into_iter().map(T::of_sixteen).collect()
            }
        }
    }
}

/// Converts grey to RGB with three equal values, and RGB to grey by ITU-R BT.601 with 16 fraction bits.
fn with_channels<T: Value>(pixels: Vec<T>, from: usize, to: usize) -> Vec<T> {
    match (from, to) {
        (1, 3) => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        (3, 1) => pixels.as_chunks::<3>().0.iter().map(grey).collect(),
        _ => pixels,
    }
}

fn grey<T: Value>(&[red, green, blue]: &[T; 3]) -> T {
    let sum = 19_595 * red.number() + 38_470 * green.number() + 7_471 * blue.number();
    T::nearest((sum + (1 << 15)) >> 16)
}

/// Cuts the part of the size `to` out of the centre; half a pixel goes to the even side, as in torchvision.
fn cut<T: Value>(pixels: Vec<T>, from: [usize; 2], to: [usize; 2], channels: usize) -> Vec<T> {
    if from == to {
        return pixels;
    }
    let start = |from: usize, to: usize| {
        let left = from - to;
        // Rounded to the nearest, ties to even.
        left / 2 + usize::from(left % 4 == 3)
    };
    let (top, left) = (start(from[0], to[0]), start(from[1], to[1]));
    let rows = pixels.chunks_exact(from[1] * channels).skip(top).take(to[0]);
    rows.flat_map(|row| &row[left * channels..(left + to[1]) * channels]).copied().collect()
}

fn planar<T: Value>(pixels: &[T], channels: usize) -> Vec<T> {
    if channels == 1 {
        return pixels.to_vec();
    }
    (0..channels).flat_map(|channel| pixels.iter().skip(channel).step_by(channels).copied()).collect()
}

#[cfg(test)]
mod tests;
