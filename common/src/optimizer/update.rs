//! Passes over all parameters: the norms of a gradient, and whatever it moves, in one pass.

use super::base::Rule;
use super::blocks::{Block, Cut, Target, cut_fields, for_each_block};
use super::buffers::Writing;
use super::elementwise;
use super::interpolation::{AngleSums, angle_sums};
use crate::flat_buffer::FlatBuffer;

/// Euclidean norms of a gradient g over all parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norms {
    /// ‖g‖; finite exactly where all of g is.
    pub(super) plain: f64,
    /// ‖T g‖ for the ascent; ‖g‖ where T = 1.
    pub(super) scaled: f64,
}

/// Measures a gradient at the weights that it was computed at; with `eta` the ascent is adaptive.
pub(super) fn norms(
    blocks: &[Block],
    gradient: &FlatBuffer,
    weights: &FlatBuffer,
    eta: Option<f64>,
) -> Norms {
    let arrays = Measured { gradient, weights };
    let squares = for_each_block(blocks, arrays, &|block, arrays: Measured<'_>| {
        let plain = elementwise::sum_of_squares(arrays.gradient);
        let scaled = match eta {
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
    /// The perturbed weights.
    pub(super) perturbed: Target<'a>,
    /// ρ / (‖T g‖ + 1e-16).
    pub(super) scale: f32,
    /// Offset of T; `None` where T = 1.
    pub(super) eta: Option<f32>,
}

cut_fields!(Ascent { perturbed, scale, eta });

impl Ascent<'_> {
    fn apply(self, block: &Block, gradient: &[f32]) {
        let weights = self.perturbed.load();
        match self.eta {
            Some(eta) if block.scaled => elementwise::ascend_scaled(weights, gradient, self.scale, eta),
            _ => elementwise::ascend(weights, gradient, self.scale),
        }
    }
}

/// A step of the fast weights by the base optimizer.
pub(super) struct Descent<'a> {
    /// The fast weights.
    pub(super) fast: Target<'a>,
    /// The step.
    pub(super) rule: Rule,
    /// The base optimizer's buffers.
    pub(super) buffers: [Option<Target<'a>>; 2],
    /// What follows.
    pub(super) ending: Ending<'a>,
}

cut_fields!(Descent { fast, rule, buffers, ending });

/// A descent's arrays as their owner holds them.
pub(super) struct OpenDescent {
    /// The fast weights.
    pub(super) fast: Writing,
    /// The step.
    pub(super) rule: Rule,
    /// The base optimizer's buffers.
    pub(super) buffers: [Option<Writing>; 2],
}

impl OpenDescent {
    /// The descent for a pass.
    pub(super) fn descent<'a>(&'a mut self, ending: Ending<'a>) -> Descent<'a> {
        let buffers = self.buffers.each_mut().map(|buffer| buffer.as_mut().map(Writing::target));
        Descent { fast: self.fast.target(), rule: self.rule, buffers, ending }
    }
}

/// What follows a descent in the same pass.
pub(super) enum Ending<'a> {
    /// Nothing.
    Open,
    /// The fast weights become slow + α (fast − slow).
    Interpolate {
        /// The slow weights.
        slow: &'a [f32],
        /// α.
        alpha: f32,
    },
    /// The angle between the first movement away from the slow weights and this one is measured.
    Measure {
        /// The slow weights.
        slow: &'a [f32],
        /// The fast weights after the first descent; `None` where this is the first.
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
    fn apply(self, gradient: &[f32]) -> AngleSums {
        let weights = self.fast.load();
        self.rule.apply(weights, gradient, self.buffers);
        match self.ending {
            Ending::Open => {}
            Ending::Interpolate { slow, alpha } => elementwise::interpolate(weights, slow, alpha),
            // With one inner step the first movement is the last one.
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

/// Applies a gradient; returns each block's part of the angle where a descent measures it, and zeros elsewhere.
pub(super) fn update(
    blocks: &[Block],
    gradient: &FlatBuffer,
    ascent: Option<Ascent<'_>>,
    descent: Option<Descent<'_>>,
) -> Vec<AngleSums> {
    for_each_block(blocks, Moves { gradient, ascent, descent }, &|block, moves: Moves<'_>| {
        if let Some(ascent) = moves.ascent {
            ascent.apply(block, moves.gradient);
        }
        moves.descent.map(|descent| descent.apply(moves.gradient)).unwrap_or_default()
    })
}
