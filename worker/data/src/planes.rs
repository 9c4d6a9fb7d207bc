//! How a sample's numbers lie: planes of pixels, one per channel.

/// A sample as [channels, height, width].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether height and width mean something.
    pub(super) are_images: bool,
}

impl Planes {
    /// [height, width] is a grey image, [channels, height, width] one of several channels; whatever else a sample
    /// is, its first dimension are the channels.
    pub(super) fn of(input_shape: &[usize]) -> Self {
        let (channels, height, width) = match *input_shape {
            [height, width] => (1, height, width),
            [channels, height, width] => (channels, height, width),
            [channels, ref rest @ ..] => (channels, 1, rest.iter().product()),
            [] => (1, 1, 1),
        };
        Self { channels, height, width, are_images: matches!(input_shape.len(), 2 | 3) }
    }

    /// Numbers in a sample.
    pub(super) fn size(&self) -> usize {
        self.channels * self.height * self.width
    }
}
