//! What an image is made of: its size, channels and depth, as a header says them, and its pixels.

use super::orientation::Orientation;

/// Bits of a value of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// Values from 0 to 255.
    Eight,
    /// Values from 0 to 65,535.
    Sixteen,
}

impl Depth {
    fn bytes(self) -> u64 {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
        }
    }
}

/// Size, channels and depth of an image, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// 1 for grey, 3 for RGB.
    pub(crate) channels: usize,
    pub(crate) depth: Depth,
}

impl Header {
    /// Number of values of the pixels; at least one, as sizes are checked.
    pub(super) fn size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Bytes of the pixels of a header that may not have been checked.
    pub(super) fn bytes(&self) -> u64 {
        let sides = (self.height as u64).saturating_mul(self.width as u64);
        sides.saturating_mul(self.channels as u64).saturating_mul(self.depth.bytes())
    }
}

/// What is known of an image before its pixels are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The image as it is stored, before it is turned.
    pub(super) stored: Header,
    /// How a reader has to turn it.
    pub(super) orientation: Orientation,
    /// Whether its pixels have an opacity, which is dropped.
    pub(super) has_opacity: bool,
}

impl Facts {
    /// Facts of an image that is stored upright and has no opacity.
    pub(super) fn plain(stored: Header) -> Self {
        Self { stored, orientation: Orientation::default(), has_opacity: false }
    }

    /// The image after it was turned.
    pub(super) fn upright(&self) -> Header {
        let Header { height, width, .. } = self.stored;
        let (height, width) = if self.orientation.swaps_sides() { (width, height) } else { (height, width) };
        Header { height, width, ..self.stored }
    }
}

/// Values of pixels [height, width, channels].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pixels {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) facts: Facts,
    pub(super) pixels: Pixels,
}

/// The type of a value of a pixel.
pub(crate) trait Value: Copy + Default + Send + Sync {
    /// The same brightness, given in 8 bits.
    fn of_eight(value: u8) -> Self;

    /// The same brightness, given in 16 bits; the nearest if there are fewer.
    fn of_sixteen(value: u16) -> Self;

    /// The value as a number, for sums.
    fn number(self) -> i64;

    /// The value of a number, or the nearest that the type has.
    fn nearest(number: i64) -> Self;
}

impl Value for u8 {
    fn of_eight(value: u8) -> Self {
        value
    }

    fn of_sixteen(value: u16) -> Self {
        ((u32::from(value) * 255 + 32_767) / 65_535) as Self
    }

    fn number(self) -> i64 {
        self.into()
    }

    fn nearest(number: i64) -> Self {
        number.clamp(0, Self::MAX.into()) as Self
    }
}

impl Value for u16 {
    /// Exact: v / 255 is 257 v / 65535.
    fn of_eight(value: u8) -> Self {
        Self::from(value) * 257
    }

    fn of_sixteen(value: u16) -> Self {
        value
    }

    fn number(self) -> i64 {
        self.into()
    }

    fn nearest(number: i64) -> Self {
        number.clamp(0, Self::MAX.into()) as Self
    }
}
