//! The layout of a sample's elements: planes of pixels, one per channel.

/// The shape of a sample, read as [channels, height, width].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether the last two dimensions are the height and width of an image.
    pub(super) are_images: bool,
}

impl Planes {
    /// Reads [height, width] as a grey image and [channels, height, width] as one of several channels. In samples of
    /// any other rank the first dimension is the channels.
    pub(super) fn of(input_shape: &[usize]) -> Self {
        let (channels, height, width) = match *input_shape {
            [height, width] => (1, height, width),
            [channels, height, width] => (channels, height, width),
            [channels, ref rest @ ..] => (channels, 1, rest.iter().product()),
            [] => (1, 1, 1),
        };
        Self { channels, height, width, are_images: matches!(input_shape.len(), 2 | 3) }
    }

    /// Number of elements in a sample.
    pub(super) fn size(&self) -> usize {
        self.channels * self.height * self.width
    }
}
