//! Shapes of one sample between layers.

use candle_core::{Result, Tensor};
use lookbehind_common::job::JobError;

use crate::data::DataDescription;
use lookbehind_kernels as ops;

/// Channels, height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) struct ImageShape {
    pub(in crate::models) channels: usize,
    pub(in crate::models) height: usize,
    pub(in crate::models) width: usize,
}

impl ImageShape {
    /// The images of a data set: [channels, height, width], or [height, width] for one channel.
    ///
    /// # Errors
    /// If its inputs are not images.
    pub(in crate::models) fn of(kind: &str, data: &DataDescription) -> std::result::Result<Self, JobError> {
        Self::from_dims(&data.input_shape).ok_or_else(|| {
            let found = &data.input_shape;
            let problem = format!(
                "{kind} takes images, [channels, height, width] or [height, width]; the data set's inputs have shape \
                 {found:?}"
            );
            JobError::new("model.kind", &problem)
        })
    }

    /// Pixels of an image.
    pub(in crate::models) fn pixels(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// The output shape of a window with this stride, padded so that stride 1 would keep height and width.
    pub(in crate::models) fn strided(self, stride: usize) -> Self {
        let extent = |extent: usize| extent.div_ceil(stride);
        Self { height: extent(self.height), width: extent(self.width), ..self }
    }

    fn from_dims(dims: &[usize]) -> Option<Self> {
        match *dims {
            [height, width] => Some(Self { channels: 1, height, width }),
            [channels, height, width] => Some(Self { channels, height, width }),
            _ => None,
        }
    }

    /// Converts inputs as data sets return them, [n, c, h, w] or [n, h, w], to channels last: [n, h, w, c].
    pub(in crate::models) fn channels_last(inputs: &Tensor) -> Result<Tensor> {
        match inputs.rank() {
            3 => inputs.unsqueeze(3),
            _ => ops::channels_last(inputs),
        }
    }
}

/// The shape of one sample between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Shape {
    Image(ImageShape),
    Features(usize),
}

impl Shape {
    /// The shape of a data set's samples: an image if the data set has images, features otherwise.
    pub(in crate::models) fn of(data: &DataDescription) -> Self {
        match ImageShape::from_dims(&data.input_shape) {
            Some(image) => Self::Image(image),
            None => Self::Features(data.input_size()),
        }
    }

    /// Number of elements of a sample.
    pub(in crate::models) fn size(self) -> usize {
        match self {
            Self::Image(ImageShape { channels, height, width }) => {
                channels.saturating_mul(height).saturating_mul(width)
            }
            Self::Features(features) => features,
        }
    }

    /// Number of channels at each place.
    pub(in crate::models) fn channels(self) -> usize {
        match self {
            Self::Image(image) => image.channels,
            Self::Features(features) => features,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(ImageShape { channels, height, width }) => {
                write!(f, "an image of {channels} x {height} x {width} (channels x height x width)")
            }
            Self::Features(features) => write!(f, "{features} features"),
        }
    }
}

/// Number of windows of `reach` pixels, `stride` apart, that fit a padded extent; `None` if none fits.
pub(in crate::models) fn window(extent: usize, reach: usize, stride: usize, padding: usize) -> Option<usize> {
    (extent + 2 * padding).checked_sub(reach).map(|free| free / stride + 1)
}
