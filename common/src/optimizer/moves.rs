//! What a gradient moves: the perturbed weights by an ascent, the fast weights by a descent, and at the end of an outer
//! step the slow weights by an interpolation.

use std::sync::Arc;

use super::Optimizer;
use super::interpolation::{Alphas, Interpolated, interpolate_tensors};
use super::outer_step::OuterStep;
use super::update::{Ascent, Ending, Norms, OpenDescent, update};
use crate::flat_buffer::FlatBuffer;
use crate::job::Alpha;

/// Added to the norm by which a clipped gradient is divided, as in PyTorch's `clip_grad_norm_`.
const CLIP_OFFSET: f64 = 1e-6;

impl Optimizer {
    /// Moves the perturbed and the fast weights with a gradient that is not the last one of the outer step.
    pub(super) fn advance(&mut self, step: &OuterStep, norms: Norms, gradient: &[f32]) {
        let used = step.gradient();
        if used.averaged {
            self.mean.add(gradient);
        }
        let ascent = self.ascent.filter(|_| used.ascends);
        let mut ascending =
            ascent.map(|ascent| (ascent, self.weights.open_perturbed(used.at, &mut self.pool)));
        let mut descending = used.descends.then(|| self.open_descent(step.lr, norms));
        let ascent =
            ascending.as_mut().map(|(ascent, perturbed)| Ascent::new(ascent, norms, perturbed.target()));
        update(&self.blocks, gradient, ascent, descending.as_mut().map(|open| open.descent(Ending::Open)));
        if let Some((_, perturbed)) = ascending {
            self.weights.close_perturbed(perturbed);
        }
        if let Some(open) = descending {
            let fast = self.close_descent(open);
            self.weights.set_fast(fast, step.keeps_first());
        }
    }

    /// Does the last descent of an outer step and the interpolation. Returns α.
    pub(super) fn finish(&mut self, step: &OuterStep, norms: Norms, gradient: &[f32]) -> Interpolated {
        let interpolation = step.schedule.interpolation;
        self.weights.prepare_last(interpolation.is_some(), &mut self.pool);
        let mut open = self.open_descent(step.lr, norms);
        let (slow, first) = (&self.weights.slow, self.weights.first());
        let ending = match interpolation {
            None => Ending::Open,
            Some(Alpha::Static(alpha)) => Ending::Interpolate { slow, alpha: alpha as f32 },
            Some(Alpha::Adaptive) => Ending::Measure { slow, first: first.map(|first| &first[..]) },
        };
        let sums = update(&self.blocks, gradient, None, Some(open.descent(ending)));
        let mut weights = self.close_descent(open);
        let alpha = match interpolation {
            None => Interpolated::with(1.0),
            Some(Alpha::Static(alpha)) => Interpolated::with(alpha),
            Some(Alpha::Adaptive) => {
                let alphas = Alphas::new(&self.blocks, &sums);
                // These weights have not been published yet, so this does not copy them.
                let last = Arc::make_mut(&mut weights);
                interpolate_tensors(&self.blocks, last, &self.weights.slow, &alphas.of_tensors);
                alphas.summary
            }
        };
        self.weights.finish(weights, &mut self.pool);
        alpha
    }

    fn open_descent(&mut self, lr: f64, norms: Norms) -> OpenDescent {
        let clip = self.clip(norms.plain);
        let (rules, buffers) = self.base.begin_step(lr, &self.kinds, &mut self.pool);
        OpenDescent { fast: self.weights.open_fast(&mut self.pool), rules, clip, buffers }
    }

    /// The factor that clips a gradient of this norm; `None` if it is short enough.
    fn clip(&self, norm: f64) -> Option<f32> {
        let factor = self.clip_norm? / (norm + CLIP_OFFSET);
        (factor < 1.0).then_some(factor as f32)
    }

    fn close_descent(&mut self, open: OpenDescent) -> Arc<FlatBuffer> {
        self.base.end_step(open.buffers);
        open.fast.finish()
    }
}
