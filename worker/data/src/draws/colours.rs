//! Random changes of colours: those of a colour jitter, and the one operation of TrivialAugment.

use lookbehind_common::random::Stream;

use super::uniform_between;
use crate::options::ColorJitter;

/// A step of a colour jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JitterStep {
    Brightness,
    Contrast,
    Saturation,
    /// A turn, in parts of the whole circle.
    Hue,
}

/// The steps of a colour jitter in their order, with their factors; `None` for those that are not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Jitter([(JitterStep, Option<f32>); 4]);

impl Jitter {
    /// Draws a factor for each step, then their order, as torchvision's `ColorJitter` has them.
    pub(super) fn draw(stream: &mut Stream, jitter: &ColorJitter) -> Self {
        let around_one = |stream: &mut Stream, range: f64| {
            (range > 0.0).then(|| uniform_between(stream, [(1.0 - range).max(0.0), 1.0 + range]) as f32)
        };
        let brightness = around_one(stream, jitter.brightness);
        let contrast = around_one(stream, jitter.contrast);
        let saturation = around_one(stream, jitter.saturation);
        let hue = (jitter.hue > 0.0).then(|| uniform_between(stream, [-jitter.hue, jitter.hue]) as f32);
        let mut steps = [
            (JitterStep::Brightness, brightness),
            (JitterStep::Contrast, contrast),
            (JitterStep::Saturation, saturation),
            (JitterStep::Hue, hue),
        ];
        stream.shuffle(&mut steps);
        Self(steps)
    }

    #[cfg(test)]
    pub(crate) fn of(steps: [(JitterStep, Option<f32>); 4]) -> Self {
        Self(steps)
    }

    /// The steps that are taken, in their order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (JitterStep, f32)> {
        self.0.into_iter().filter_map(|(step, factor)| Some((step, factor?)))
    }
}

/// The operations of TrivialAugment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

/// One operation with its strength: a slope, pixels, degrees, what a factor differs from 1 by, bits, or a threshold of 256
/// levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trivial {
    pub(crate) operation: Operation,
    pub(crate) strength: f64,
}

/// Number of strengths of each operation.
const STRENGTHS: u64 = 31;

impl Trivial {
    const OPERATIONS: [Operation; 14] = [
        Operation::Identity,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
        Operation::Rotate,
        Operation::Brightness,
        Operation::Color,
        Operation::Contrast,
        Operation::Sharpness,
        Operation::Posterize,
        Operation::Solarize,
        Operation::AutoContrast,
        Operation::Equalize,
    ];

    /// Draws an operation, one of its strengths, and a sign.
    pub(super) fn draw(stream: &mut Stream) -> Self {
        let operation = Self::OPERATIONS[stream.below(Self::OPERATIONS.len() as u64) as usize];
        let (number, is_negative) = (stream.below(STRENGTHS), stream.below(2) == 1);
        let strength = strength(operation, number);
        let has_sign = !matches!(operation, Operation::Posterize | Operation::Solarize);
        Self { operation, strength: if has_sign && is_negative { -strength } else { strength } }
    }
}

/// The strength of a number from 0 to 30, in the wide ranges of the paper.
fn strength(operation: Operation, number: u64) -> f64 {
    let share = number as f64 / (STRENGTHS - 1) as f64;
    match operation {
        Operation::Identity | Operation::AutoContrast | Operation::Equalize => 0.0,
        Operation::TranslateX | Operation::TranslateY => 32.0 * share,
        Operation::Rotate => 135.0 * share,
        Operation::Posterize => 8.0 - libm::rint(6.0 * share),
        Operation::Solarize => 255.0 * (1.0 - share),
        Operation::ShearX
        | Operation::ShearY
        | Operation::Brightness
        | Operation::Color
        | Operation::Contrast
        | Operation::Sharpness => 0.99 * share,
    }
}
