//! Scaled dot-product attention (Vaswani et al., NIPS 2017, equation 1) over several heads, with its gradients.

use candle_core::{Device, Result, Shape, Tensor};
use lookbehind_common::job::Precision;
use rayon::prelude::*;

use super::gemm::{Lhs, Output, Panels, multiply};
use super::interruption::Interruption;
use super::precision::{declared, operand};
use super::storage::with_elements;
use super::tape::{Kernel, apply3};

/// softmax(q kᵀ / √(c / heads)) v for each head's share of the channels; q, k, v and the result are `[n, tokens, c]`.
///
/// # Errors
/// When the shapes differ, a tensor is empty, or the channels cannot be divided among the heads.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (_, tokens, channels) = q.dims3()?;
    if k.dims() != q.dims()
        || v.dims() != q.dims()
        || heads * q.elem_count() == 0
        || !channels.is_multiple_of(heads)
    {
        candle_core::bail!(
            "attention of {:?}, {:?} and {:?} with {heads} heads",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    let operation = Attention { heads, tokens, channels, precision: declared() };
    apply3(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, operation)
}

pub(super) struct Attention {
    pub(super) heads: usize,
    pub(super) tokens: usize,
    pub(super) channels: usize,
    pub(super) precision: Precision,
}

/// Output that writes one head's columns of a row-major `[tokens, c]`.
fn part(elements: &mut [f32], first: usize, channels: usize) -> Output<'_> {
    Output { elements: &mut elements[first..], row: channels, accumulate: false }
}

impl Attention {
    pub(super) fn sample(&self) -> usize {
        self.tokens * self.channels
    }

    pub(super) fn head_channels(&self) -> usize {
        self.channels / self.heads
    }

    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.head_channels() as f64).sqrt()) as f32
    }

    /// One head's columns of `[tokens, c]` as left operand.
    fn rows<'a>(&self, x: &'a [f32], first: usize) -> Lhs<'a> {
        Lhs { elements: &x[first..], row: self.channels, step: 1 }
    }

    /// One head's columns of `[tokens, c]` as right operand.
    fn panels(&self, x: &[f32], first: usize) -> Panels {
        Panels::pack(self.tokens, self.head_channels(), |token, column, target| {
            let start = token * self.channels + first + column;
            target.copy_from_slice(&x[start..start + target.len()]);
        })
    }

    /// The transpose of one head's columns as right operand.
    fn transposed_panels(&self, x: &[f32], first: usize) -> Panels {
        Panels::pack(self.head_channels(), self.tokens, |channel, token, target| {
            for (offset, value) in target.iter_mut().enumerate() {
                *value = x[(token + offset) * self.channels + first + channel];
            }
        })
    }

    /// `a bᵀ` of one head, `[tokens, tokens]`.
    fn scores(&self, a: &[f32], b: &[f32], first: usize) -> Vec<f32> {
        let mut scores = vec![0_f32; self.tokens * self.tokens];
        let output = Output { elements: &mut scores, row: self.tokens, accumulate: false };
        multiply(self.tokens, self.rows(a, first), self.transposed_panels(b, first).rhs(), output);
        scores
    }

    /// The attention weights of one head: each row sums to 1.
    fn weights(&self, q: &[f32], k: &[f32], first: usize) -> Vec<f32> {
        let mut weights = self.scores(q, k, first);
        for row in weights.chunks_exact_mut(self.tokens) {
            softmax(row, self.scale());
        }
        weights
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32], result: &mut [f32]) {
        for first in (0..self.channels).step_by(self.head_channels()) {
            let weights = self.weights(q, k, first);
            let weights = operand(self.precision, &weights);
            let lhs = Lhs::rows(&weights, self.tokens);
            multiply(self.tokens, lhs, self.panels(v, first).rhs(), part(result, first, self.channels));
        }
    }

    /// The backward pass of one sample; writes the gradients of q, k and v to `results`.
    fn backward(&self, [q, k, v]: [&[f32]; 3], gradient: &[f32], results: [&mut [f32]; 3]) {
        let (tokens, channels) = (self.tokens, self.channels);
        let [of_q, of_k, of_v] = results;
        for first in (0..channels).step_by(self.head_channels()) {
            let weights = self.weights(q, k, first);
            let rounded = operand(self.precision, &weights);
            let transposed = Lhs::transposed(&rounded, tokens);
            multiply(tokens, transposed, self.panels(gradient, first).rhs(), part(of_v, first, channels));
            let mut of_scores = self.scores(gradient, v, first);
            for (weights, gradient) in weights.chunks_exact(tokens).zip(of_scores.chunks_exact_mut(tokens)) {
                softmax_gradient(weights, gradient, self.scale());
            }
            let of_scores = operand(self.precision, &of_scores);
            let lhs = Lhs::rows(&of_scores, tokens);
            multiply(tokens, lhs, self.panels(k, first).rhs(), part(of_q, first, channels));
            let lhs = Lhs::transposed(&of_scores, tokens);
            multiply(tokens, lhs, self.panels(q, first).rhs(), part(of_k, first, channels));
        }
    }
}

/// softmax of the row times `scale`, in place; computed in f64 with pinned functions.
fn softmax(row: &mut [f32], scale: f32) {
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |x: f32| libm::exp(f64::from(x - greatest) * f64::from(scale));
    let total: f64 = row.iter().map(|&x| exponential(x)).sum();
    row.iter_mut().for_each(|x| *x = (exponential(*x) / total) as f32);
}

/// Turns the gradient of softmax's result into that of the row before scaling, in place.
fn softmax_gradient(weights: &[f32], gradient: &mut [f32], scale: f32) {
    let products = weights.iter().zip(gradient.iter());
    let mean: f64 = products.map(|(&weight, &gradient)| f64::from(weight) * f64::from(gradient)).sum();
    for (gradient, &weight) in gradient.iter_mut().zip(weights) {
        *gradient = (f64::from(weight) * (f64::from(*gradient) - mean) * f64::from(scale)) as f32;
    }
}

impl Kernel<3> for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn compute(&self, operands: [&[f32]; 3], [shape, ..]: [&Shape; 3]) -> Result<(Vec<f32>, Shape)> {
        let operands = operands.map(|elements| operand(self.precision, elements));
        let size = self.sample();
        let mut result = vec![0_f32; operands[0].len()];
        let interruption = Interruption::current();
        result.par_chunks_mut(size).enumerate().for_each(|(number, result)| {
            if interruption.is_raised() {
                return;
            }
            let [q, k, v] = operands.each_ref().map(|x| &x[number * size..][..size]);
            self.forward(q, k, v, result);
        });
        Ok((result, shape.clone()))
    }

    fn gradients(
        &self,
        [q, k, v]: [&Tensor; 3],
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let size = self.sample();
        let [of_q, of_k, of_v] = with_elements([q, k, v, gradient], |operands| {
            let operands = operands.map(|elements| operand(self.precision, elements));
            let [q, k, v, gradient] = operands.each_ref().map(|operand| &**operand);
            let mut results = [(); 3].map(|()| vec![0_f32; q.len()]);
            let [of_q, of_k, of_v] = &mut results;
            let targets =
                of_q.par_chunks_mut(size).zip(of_k.par_chunks_mut(size)).zip(of_v.par_chunks_mut(size));
            let interruption = Interruption::current();
            targets.enumerate().for_each(|(number, ((of_q, of_k), of_v))| {
                if interruption.is_raised() {
                    return;
                }
                let [q, k, v, gradient] = [q, k, v, gradient].map(|x| &x[number * size..][..size]);
                self.backward([q, k, v], gradient, [of_q, of_k, of_v]);
            });
            results
        })?;
        let tensor = |elements: Vec<f32>| Tensor::from_vec(elements, q.shape(), &Device::Cpu).map(Some);
        Ok([tensor(of_q)?, tensor(of_k)?, tensor(of_v)?])
    }
}

#[cfg(test)]
mod tests;
