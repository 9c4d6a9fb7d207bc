//! Pooling over windows of pixels, channels last.

use candle_core::{D, Device, Result, Shape, Tensor};

use super::output::in_parts;
use super::storage::with_elements;
use super::tape::{Kernel, apply1};

/// Windows of a pooling layer: squares of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of a window, in pixels.
    pub size: usize,
    /// Distance in pixels from one window to the next, down and across.
    pub stride: usize,
    /// Width in pixels of the border around the image: zeros for the average, ignored for the maximum.
    pub padding: usize,
}

/// The maximum of each window and channel of x `[n, h, w, c]`; the gradient flows to the first of equal elements. NaN
/// counts as greater than every number.
///
/// # Errors
/// When a window does not fit, or lies entirely in the padding.
pub fn max_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    apply(x, pool, Kind::Max)
}

/// The mean of each window and channel of x `[n, h, w, c]`; the padding's zeros count, as in PyTorch by default.
///
/// # Errors
/// When a window does not fit, or lies entirely in the padding.
pub fn avg_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    apply(x, pool, Kind::Average)
}

/// The mean over all pixels of x `[n, .., c]`: `[n, c]`.
///
/// # Errors
/// When the tensor has fewer than two dimensions, or no elements.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    check_not_empty(x)?;
    let (n, c) = (x.dim(0)?, x.dim(D::Minus1)?);
    let pixels = x.elem_count() / (n * c);
    let x = x.reshape((n, pixels, 1, c))?;
    let pool = Pool { window: Window::whole(pixels), kind: Kind::Average };
    apply1(&x.contiguous()?, pool)?.reshape((n, c))
}

fn apply(x: &Tensor, pool: Pool2d, kind: Kind) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    check_not_empty(x)?;
    let window = Window::new(height, width, pool)?;
    apply1(&x.contiguous()?, Pool { window, kind })
}

fn check_not_empty(x: &Tensor) -> Result<()> {
    match x.elem_count() {
        0 => candle_core::bail!("pooling of {:?}: expected at least one number", x.dims()),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Max,
    Average,
}

/// Windows over images of one size; extents are (height, width).
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) input: (usize, usize),
    pub(super) output: (usize, usize),
    pub(super) size: (usize, usize),
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Window {
    fn new(height: usize, width: usize, pool: Pool2d) -> Result<Self> {
        let Pool2d { size, stride, padding } = pool;
        let extent =
            |pixels: usize| (pixels + 2 * padding).checked_sub(size).map(|free| free / stride.max(1) + 1);
        match (extent(height), extent(width)) {
            (Some(down), Some(across)) if size > 0 && stride > 0 && padding < size => Ok(Self {
                input: (height, width),
                output: (down, across),
                size: (size, size),
                stride,
                padding,
            }),
            _ => candle_core::bail!(
                "pooling windows of {size}x{size} with stride {stride} and padding {padding} do not fit into an image of \
                 {height}x{width}"
            ),
        }
    }

    /// One window of all pixels, which are arranged in a column.
    fn whole(pixels: usize) -> Self {
        Self { input: (pixels, 1), output: (1, 1), size: (pixels, 1), stride: 1, padding: 0 }
    }

    /// Input pixels of an output pixel, as indices within an image, row by row.
    fn pixels(self, output: usize) -> impl Iterator<Item = usize> {
        let (top, left) = (output / self.output.1 * self.stride, output % self.output.1 * self.stride);
        // Positions before the first pixel are padding and are skipped; a window is larger than the padding, so that
        // the end of a range is never negative.
        let range = |start: usize, taps: usize, extent: usize| {
            start.saturating_sub(self.padding)..(start + taps - self.padding).min(extent)
        };
        let columns = range(left, self.size.1, self.input.1);
        range(top, self.size.0, self.input.0)
            .flat_map(move |row| columns.clone().map(move |column| row * self.input.1 + column))
    }
}

pub(super) struct Pool {
    pub(super) window: Window,
    pub(super) kind: Kind,
}

impl Pool {
    /// Elements of an input and of an output image.
    fn sizes(&self, channels: usize) -> (usize, usize) {
        let Window { input, output, .. } = self.window;
        (input.0 * input.1 * channels, output.0 * output.1 * channels)
    }

    fn image(&self, x: &[f32], result: &mut [f32], channels: usize) {
        for (output, result) in result.chunks_exact_mut(channels).enumerate() {
            result.fill(if self.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 });
            for pixel in self.window.pixels(output) {
                let pixel = &x[pixel * channels..][..channels];
                for (result, &x) in result.iter_mut().zip(pixel) {
                    match self.kind {
                        Kind::Max if x > *result || x.is_nan() => *result = x,
                        Kind::Max => {}
                        Kind::Average => *result += x,
                    }
                }
            }
            if self.kind == Kind::Average {
                result.iter_mut().for_each(|sum| *sum /= self.taps());
            }
        }
    }

    fn taps(&self) -> f32 {
        (self.window.size.0 * self.window.size.1) as f32
    }

    fn image_gradient(
        &self,
        x: &[f32],
        result: &[f32],
        gradient: &[f32],
        target: &mut [f32],
        channels: usize,
    ) {
        for (output, gradient) in gradient.chunks_exact(channels).enumerate() {
            match self.kind {
                Kind::Average => {
                    for pixel in self.window.pixels(output) {
                        let target = &mut target[pixel * channels..][..channels];
                        target.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value / self.taps());
                    }
                }
                Kind::Max => {
                    let result = &result[output * channels..][..channels];
                    for channel in 0..channels {
                        let is_greatest = |pixel: &usize| {
                            let x = x[pixel * channels + channel];
                            x == result[channel] || x.is_nan()
                        };
                        if let Some(pixel) = self.window.pixels(output).find(is_greatest) {
                            target[pixel * channels + channel] += gradient[channel];
                        }
                    }
                }
            }
        }
    }
}

impl Kernel<1> for Pool {
    fn name(&self) -> &'static str {
        "pool2d"
    }

    fn compute(&self, [x]: [&[f32]; 1], [shape]: [&Shape; 1]) -> Result<(Vec<f32>, Shape)> {
        let (images, _, _, channels) = shape.dims4()?;
        let (before, after) = self.sizes(channels);
        let result = in_parts(images * after, after, |image, result| {
            self.image(&x[image * before..][..before], result, channels);
        });
        let (height, width) = self.window.output;
        Ok((result, Shape::from((images, height, width, channels))))
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 1]> {
        let channels = x.dim(3)?;
        let (before, after) = self.sizes(channels);
        let of_x = with_elements([x, result, gradient], |[x, result, gradient]| {
            in_parts(x.len(), before, |image, target| {
                target.fill(0.0);
                let (input, output) =
                    (image * before..(image + 1) * before, image * after..(image + 1) * after);
                let (result, gradient) = (&result[output.clone()], &gradient[output]);
                self.image_gradient(&x[input], result, gradient, target, channels);
            })
        })?;
        Ok([Some(Tensor::from_vec(of_x, x.shape(), &Device::Cpu)?)])
    }
}

#[cfg(test)]
mod tests;
