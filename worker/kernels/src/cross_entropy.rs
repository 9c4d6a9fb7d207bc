//! Softmax cross-entropy: loss −Σ_j p_j ln softmax(z)_j of a sample with logits z and target distribution p, in nats.
//!
//! For a sample of class t, p_j = [j = t]; mixup makes it a mixture of two classes (Zhang et al. 2018, section 2), and
//! label smoothing by s turns p_j into (1 − s) p_j + s / classes (Szegedy et al. 2016, section 7).
//!
//! It is computed in f64 on the CPU, whatever device the model runs on, with pinned functions, and rounded to f32.

use candle_core::{DType, Result, Tensor};
use lookbehind_common::partial::Sums;

use super::storage::copy_into;
use lookbehind_common::target::Target;

/// Losses of some samples and their gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Sum of the losses in the samples' order, number of correct predictions, and number of samples. The prediction is
    /// the first of equally large logits; for a mixture it is compared with the heavier class.
    pub sums: Sums,
    /// Gradient of (sum of the losses) / `denominator` with respect to the logits [n, classes], row-major.
    pub gradient: Vec<f32>,
}

/// Losses of the samples whose logits [n, classes] are given row-major, and the gradient of their sum.
///
/// d(loss)/d(z_j) = softmax(z)_j − p_j. A NaN among a sample's logits makes its loss and gradient NaN and its
/// prediction wrong.
///
/// # Errors
/// When the number of logits is not samples times classes, or a target's class is not below `classes`.
pub fn cross_entropy(
    logits: &[f32],
    classes: usize,
    targets: &[Target],
    smoothing: f32,
    denominator: u64,
) -> Result<CrossEntropy> {
    check(logits, classes, targets)?;
    let mut sums = Sums { samples: targets.len() as u64, ..Sums::default() };
    let mut gradient = Vec::with_capacity(logits.len());
    let mut exponentials = Vec::with_capacity(classes);
    // `chunks_exact` refuses 0. Without classes there are no samples either, as `check` has seen.
    for (row, target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        let expected = Distribution::new(target, smoothing, classes);
        sums.loss += f64::from(sample_loss(row, &expected, &mut exponentials));
        sums.correct += u64::from(is_correct(row, target.heavier_class() as usize));
        push_gradient(&exponentials, &expected, denominator as f64, &mut gradient);
    }
    Ok(CrossEntropy { sums, gradient })
}

fn check(logits: &[f32], classes: usize, targets: &[Target]) -> Result<()> {
    if targets.len().checked_mul(classes) != Some(logits.len()) {
        candle_core::bail!(
            "{} logits, expected {} samples of {classes} classes",
            logits.len(),
            targets.len()
        );
    }
    let unknown = targets.iter().map(Target::greatest_class).find(|&class| class as usize >= classes);
    if let Some(class) = unknown {
        candle_core::bail!("a target of class {class}, expected one of {classes} classes");
    }
    Ok(())
}

/// The distribution p over the classes.
struct Distribution {
    class: usize,
    mixed: Option<usize>,
    /// Shares of the two classes, and the share that every class gets (label smoothing).
    shares: [f64; 3],
}

impl Distribution {
    fn new(target: &Target, smoothing: f32, classes: usize) -> Self {
        let kept = 1.0 - f64::from(smoothing);
        let second = target.mixed.map_or(0.0, |mixed| f64::from(mixed.share));
        Self {
            class: target.class as usize,
            mixed: target.mixed.map(|mixed| mixed.class as usize),
            shares: [kept * (1.0 - second), kept * second, f64::from(smoothing) / classes as f64],
        }
    }

    fn share(&self, class: usize) -> f64 {
        let [first, second, even] = self.shares;
        let of = |found, share| if found { share } else { 0.0 };
        of(class == self.class, first) + of(Some(class) == self.mixed, second) + even
    }
}

/// One sample's loss; leaves exp(z_j − max z) in `exponentials`. Subtracting the maximum keeps exp from overflowing.
fn sample_loss(row: &[f32], expected: &Distribution, exponentials: &mut Vec<f64>) -> f32 {
    let greatest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    exponentials.clear();
    exponentials.extend(row.iter().map(|&logit| libm::exp(f64::from(logit) - greatest)));
    let logarithm = libm::log(exponentials.iter().sum::<f64>());
    let part = |(class, &logit): (usize, &f32)| match expected.share(class) {
        // An infinite logit of a class with share 0 must not make the sum NaN (0 · ∞).
        0.0 => 0.0,
        share => share * (logarithm - (f64::from(logit) - greatest)),
    };
    row.iter().enumerate().map(part).sum::<f64>() as f32
}

/// Appends the gradient of one sample's loss / `denominator`.
fn push_gradient(exponentials: &[f64], expected: &Distribution, denominator: f64, gradient: &mut Vec<f32>) {
    let total: f64 = exponentials.iter().sum();
    gradient.extend(
        exponentials
            .iter()
            .enumerate()
            .map(|(class, exponential)| ((exponential / total - expected.share(class)) / denominator) as f32),
    );
}

fn is_correct(row: &[f32], target: usize) -> bool {
    let logit = row[target];
    let (before, after) = row.split_at(target);
    !logit.is_nan() && before.iter().all(|&other| other < logit) && after.iter().all(|&other| other <= logit)
}

/// Computes the losses of a model's output, logits f32 [n, classes]; see [`cross_entropy`].
///
/// # Errors
/// When the logits do not have that shape and type, or cannot be copied from their device.
pub fn of_logits(
    logits: &Tensor,
    targets: &[Target],
    smoothing: f32,
    denominator: u64,
) -> Result<CrossEntropy> {
    let (rows, classes) = logits.dims2()?;
    if rows != targets.len() || logits.dtype() != DType::F32 {
        let (found, dtype) = (logits.dims(), logits.dtype());
        candle_core::bail!("logits {found:?} of {dtype:?}, expected [{}, classes] of F32", targets.len());
    }
    let mut elements = vec![0_f32; rows * classes];
    copy_into(logits, &mut elements)?;
    cross_entropy(&elements, classes, targets, smoothing, denominator)
}

#[cfg(test)]
mod tests;
