//! Kernels over all parameters: one computes the norms of a gradient, one does everything that a gradient moves, so
//! that memory is read and written once.

use super::base::Rule;
use super::blocks::{BLOCK, Block, Cut, Target, cut_fields, for_each_block};
use super::buffers::Writing;
use super::elementwise;
use super::interpolation::{AngleSums, angle_sums};
use crate::job;

/// Added to the norm of a gradient, so that a gradient of zero gives an ascent of zero instead of NaN.
const NORM_OFFSET: f64 = 1e-16;

/// Euclidean norms of a gradient g.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norms {
    /// ‖g‖ over all parameters; finite exactly if all values of g are.
    pub(super) plain: f64,
    /// ‖T g‖ over the perturbed parameters, for the ascent.
    pub(super) scaled: f64,
}

/// The norms of a gradient that was computed at `weights`. With `eta`, the ascent is adaptive.
pub(super) fn norms(blocks: &[Block], gradient: &[f32], weights: &[f32], eta: Option<f64>) -> Norms {
    let arrays = Measured { gradient, weights };
    let squares = for_each_block(blocks, arrays, &|block, arrays: Measured<'_>| {
        let plain = elementwise::sum_of_squares(arrays.gradient);
        let scaled = match eta {
            _ if !block.ascends => 0.0,
            Some(eta) if block.scaled => {
                elementwise::scaled_sum_of_squares(arrays.gradient, arrays.weights, eta)
            }
            _ => plain,
        };
        [plain, scaled]
    });
    let [plain, scaled] =
        squares.iter().fold([0.0, 0.0], |sums, block| [sums[0] + block[0], sums[1] + block[1]]);
    Norms { plain: plain.sqrt(), scaled: scaled.sqrt() }
}

struct Measured<'a> {
    gradient: &'a [f32],
    weights: &'a [f32],
}

cut_fields!(Measured { gradient, weights });

/// A move of the perturbed weights by ε = scale·T²·g.
pub(super) struct Ascent<'a> {
    perturbed: Target<'a>,
    /// ρ / (‖T g‖ + 1e-16).
    scale: f32,
    /// Offset η of T; `None` if T = 1.
    eta: Option<f32>,
}

cut_fields!(Ascent { perturbed, scale, eta });

impl<'a> Ascent<'a> {
    /// The ascent along a gradient with these norms.
    pub(super) fn new(ascent: &job::Ascent, norms: Norms, perturbed: Target<'a>) -> Self {
        let scale = (ascent.rho / (norms.scaled + NORM_OFFSET)) as f32;
        Self { perturbed, scale, eta: ascent.eta.map(|eta| eta as f32) }
    }

    fn apply(self, block: &Block, gradient: &[f32]) {
        let weights = self.perturbed.load();
        match self.eta {
            _ if !block.ascends => {}
            Some(eta) if block.scaled => elementwise::ascend_scaled(weights, gradient, self.scale, eta),
            _ => elementwise::ascend(weights, gradient, self.scale),
        }
    }
}

/// A descent of the fast weights.
pub(super) struct Descent<'a> {
    pub(super) fast: Target<'a>,
    /// The base optimizer's step for each kind of tensors.
    pub(super) rules: &'a [Rule],
    /// Factor of the gradient, if it is clipped.
    pub(super) clip: Option<f32>,
    /// The base optimizer's buffers, as many as it has.
    pub(super) buffers: [Option<Target<'a>>; 2],
    /// What is done with the new fast weights in the same kernel.
    pub(super) ending: Ending<'a>,
}

cut_fields!(Descent { fast, rules, clip, buffers, ending });

/// The arrays of a descent, owned.
pub(super) struct OpenDescent {
    pub(super) fast: Writing,
    pub(super) rules: Vec<Rule>,
    pub(super) clip: Option<f32>,
    pub(super) buffers: [Option<Writing>; 2],
}

impl OpenDescent {
    /// The descent as an argument of the kernel.
    pub(super) fn descent<'a>(&'a mut self, ending: Ending<'a>) -> Descent<'a> {
        let buffers = self.buffers.each_mut().map(|buffer| buffer.as_mut().map(Writing::target));
        Descent { fast: self.fast.target(), rules: &self.rules, clip: self.clip, buffers, ending }
    }
}

/// What is done with the fast weights after a descent, in the same kernel.
pub(super) enum Ending<'a> {
    /// Nothing.
    Open,
    /// The fast weights become slow + α (fast − slow).
    Interpolate { slow: &'a [f32], alpha: f32 },
    /// The sums for the angle between the first movement away from the slow weights and this one are computed.
    Measure {
        slow: &'a [f32],
        /// The fast weights after the first descent; `None` if this is the first.
        first: Option<&'a [f32]>,
    },
}

impl Cut for Ending<'_> {
    fn cut(self, at: usize) -> (Self, Self) {
        match self {
            Self::Open => (Self::Open, Self::Open),
            Self::Interpolate { slow, alpha } => {
                let (slow, rest) = slow.cut(at);
                (Self::Interpolate { slow, alpha }, Self::Interpolate { slow: rest, alpha })
            }
            Self::Measure { slow, first } => {
                let ((slow, rest), (first, first_rest)) = (slow.cut(at), first.cut(at));
                (Self::Measure { slow, first }, Self::Measure { slow: rest, first: first_rest })
            }
        }
    }
}

impl Descent<'_> {
    fn apply(self, block: &Block, gradient: &[f32]) -> AngleSums {
        let weights = self.fast.load();
        let buffers = self.buffers.map(|buffer| buffer.map_or(&mut [][..], Target::load));
        // A frozen tensor has no movement, and no bit of it changes.
        let Some(kind) = block.kind else { return AngleSums::default() };
        match self.clip {
            None => self.rules[kind].apply(weights, gradient, buffers),
            Some(factor) => {
                let mut clipped = [0.0; BLOCK];
                clipped.iter_mut().zip(gradient).for_each(|(clipped, g)| *clipped = factor * g);
                self.rules[kind].apply(weights, &clipped[..gradient.len()], buffers);
            }
        }
        match self.ending {
            Ending::Open => {}
            Ending::Interpolate { slow, alpha } => elementwise::interpolate(weights, slow, alpha),
            // With one inner step, the first movement is also the last one.
            Ending::Measure { slow, first } => return angle_sums(first.unwrap_or(weights), weights, slow),
        }
        AngleSums::default()
    }
}

struct Moves<'a> {
    gradient: &'a [f32],
    ascent: Option<Ascent<'a>>,
    descent: Option<Descent<'a>>,
}

cut_fields!(Moves { gradient, ascent, descent });

/// Does the ascent and the descent of a gradient. Returns each block's sums for the angle if the descent measures it,
/// and zeros otherwise.
pub(super) fn update(
    blocks: &[Block],
    gradient: &[f32],
    ascent: Option<Ascent<'_>>,
    descent: Option<Descent<'_>>,
) -> Vec<AngleSums> {
    for_each_block(blocks, Moves { gradient, ascent, descent }, &|block, moves: Moves<'_>| {
        if let Some(ascent) = moves.ascent {
            ascent.apply(block, moves.gradient);
        }
        moves.descent.map(|descent| descent.apply(block, moves.gradient)).unwrap_or_default()
    })
}
