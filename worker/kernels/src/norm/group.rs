//! Normalisation within a sample: group normalisation (Wu and He, ECCV 2018) and layer normalisation (Ba, Kiros and
//! Hinton, 2016).

use candle_core::{Device, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Affine;
use crate::storage::with_elements;
use crate::tape::{Kernel, apply2};

/// x̂ · weight + bias with x̂ = (x − mean) / √(variance + eps), for x `[n, .., c]`; mean and variance are those of a
/// sample's elements in each of `groups` groups of neighbouring channels.
///
/// # Errors
/// When the shapes do not fit or the channels cannot be divided into the groups.
pub fn group_norm(x: &Tensor, groups: usize, affine: &Affine<'_>) -> Result<Tensor> {
    let channels = affine.check(x)?;
    if groups == 0 || !channels.is_multiple_of(groups) || x.rank() < 2 {
        candle_core::bail!("{channels} channels of {:?} in {groups} groups", x.dims());
    }
    let pixels = x.elem_count() / channels / x.dim(0)?;
    normalize(x, affine, Sets { pixels, channels, groups })
}

/// Layer normalisation: the same over the last dimension of x `[.., c]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(x: &Tensor, affine: &Affine<'_>) -> Result<Tensor> {
    let channels = affine.check(x)?;
    normalize(x, affine, Sets { pixels: 1, channels, groups: 1 })
}

fn normalize(x: &Tensor, affine: &Affine<'_>, sets: Sets) -> Result<Tensor> {
    apply2(&x.contiguous()?, &affine.stacked()?, GroupNorm { sets, eps: affine.eps })
}

/// The sets that are normalised together: `channels / groups` neighbouring channels of `pixels` pixels.
#[derive(Clone, Copy)]
pub(crate) struct Sets {
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) groups: usize,
}

impl Sets {
    /// Elements of a sample.
    pub(crate) fn sample(self) -> usize {
        self.pixels * self.channels
    }

    /// Elements of a set.
    fn size(self) -> f64 {
        (self.sample() / self.groups) as f64
    }

    fn group(self, channel: usize) -> usize {
        channel / (self.channels / self.groups)
    }
}

pub(crate) struct GroupNorm {
    pub(crate) sets: Sets,
    pub(crate) eps: f64,
}

/// Mean and 1 / √(variance + eps) of a set.
#[derive(Clone, Copy, Default)]
struct Moments {
    mean: f64,
    inverse: f64,
}

impl GroupNorm {
    /// The moments of each group of one sample.
    fn moments(&self, sample: &[f32]) -> Vec<Moments> {
        let mut sums = vec![(0_f64, 0_f64); self.sets.groups];
        for pixel in sample.chunks_exact(self.sets.channels) {
            for (group, elements) in pixel.chunks_exact(self.sets.channels / self.sets.groups).enumerate() {
                let (sum, squares) = &mut sums[group];
                for &x in elements {
                    *sum += f64::from(x);
                    *squares += f64::from(x) * f64::from(x);
                }
            }
        }
        let size = self.sets.size();
        let moments = |(sum, squares): (f64, f64)| {
            let mean = sum / size;
            let variance = (squares / size - mean * mean).max(0.0);
            Moments { mean, inverse: 1.0 / (variance + self.eps).sqrt() }
        };
        sums.into_iter().map(moments).collect()
    }

    fn forward(&self, x: &[f32], affine: &[f32]) -> Vec<f32> {
        let (weight, bias) = affine.split_at(self.sets.channels);
        let mut result = vec![0_f32; x.len()];
        let samples = result.par_chunks_mut(self.sets.sample()).zip(x.par_chunks(self.sets.sample()));
        samples.for_each(|(result, x)| {
            let moments = self.moments(x);
            let pixels = result.chunks_exact_mut(self.sets.channels).zip(x.chunks_exact(self.sets.channels));
            for (result, x) in pixels {
                for (channel, (result, &x)) in result.iter_mut().zip(x).enumerate() {
                    let Moments { mean, inverse } = moments[self.sets.group(channel)];
                    let normal = (f64::from(x) - mean) * inverse;
                    *result = (normal * f64::from(weight[channel]) + f64::from(bias[channel])) as f32;
                }
            }
        });
        result
    }

    /// The input's gradient, and that of factors and summands.
    fn backward(&self, x: &[f32], affine: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let sample = self.sets.sample();
        let mut result = vec![0_f32; x.len()];
        let samples =
            result.par_chunks_mut(sample).zip(x.par_chunks(sample)).zip(gradient.par_chunks(sample));
        let of_affine: Vec<Vec<f64>> = samples
            .map(|((result, x), gradient)| self.backward_sample(x, affine, gradient, result))
            .collect();
        let mut total = vec![0_f64; affine.len()];
        for sums in of_affine {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        (result, total.into_iter().map(|sum| sum as f32).collect())
    }

    /// The backward pass of one sample; returns its partial gradient of factors and summands.
    fn backward_sample(&self, x: &[f32], affine: &[f32], gradient: &[f32], result: &mut [f32]) -> Vec<f64> {
        let Sets { channels, groups, .. } = self.sets;
        let moments = self.moments(x);
        let mut of_affine = vec![0_f64; 2 * channels];
        let mut sums = vec![(0_f64, 0_f64); groups];
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            for channel in 0..channels {
                let group = self.sets.group(channel);
                let normal = (f64::from(x[channel]) - moments[group].mean) * moments[group].inverse;
                let gradient = f64::from(gradient[channel]);
                of_affine[channel] += gradient * normal;
                of_affine[channels + channel] += gradient;
                let scaled = gradient * f64::from(affine[channel]);
                sums[group].0 += scaled;
                sums[group].1 += scaled * normal;
            }
        }
        let pixels = result
            .chunks_exact_mut(channels)
            .zip(x.chunks_exact(channels))
            .zip(gradient.chunks_exact(channels));
        for ((result, x), gradient) in pixels {
            for channel in 0..channels {
                let group = self.sets.group(channel);
                let Moments { mean, inverse } = moments[group];
                let normal = (f64::from(x[channel]) - mean) * inverse;
                let scaled = f64::from(gradient[channel]) * f64::from(affine[channel]);
                let (sum, product) = sums[group];
                result[channel] = (inverse * (scaled - (sum + normal * product) / self.sets.size())) as f32;
            }
        }
        of_affine
    }
}

impl Kernel<2> for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn compute(&self, [x, affine]: [&[f32]; 2], [shape, _]: [&Shape; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((self.forward(x, affine), shape.clone()))
    }

    fn gradients(
        &self,
        [x, affine]: [&Tensor; 2],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let (of_x, of_affine) =
            with_elements([x, affine, gradient], |[x, affine, gradient]| self.backward(x, affine, gradient))?;
        let of_x = Tensor::from_vec(of_x, x.shape(), &Device::Cpu)?;
        let of_affine = Tensor::from_vec(of_affine, affine.shape(), &Device::Cpu)?;
        Ok([Some(of_x), Some(of_affine)])
    }
}

#[cfg(test)]
mod tests;
