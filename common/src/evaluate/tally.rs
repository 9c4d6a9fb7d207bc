//! Predictions compared with the targets, sample by sample.

use serde::{Deserialize, Serialize};

/// Bins of confidence for the calibration error, of equal width.
pub const CALIBRATION_BINS: usize = 15;
/// How many classes count as predicted in the accuracy that allows more than one.
pub const TOP: usize = 5;
/// Classes from which on that accuracy is reported: with fewer, half of all guesses would be right.
const LEAST_CLASSES: usize = 10;
/// Most classes of a table of confusion, which grows with their square.
const MOST_CONFUSED: usize = 1024;

/// What a model predicted for some samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    classes: usize,
    /// Number of samples.
    pub samples: u64,
    /// Sum of the samples' losses, in nats.
    pub loss: f64,
    /// Samples whose class has the greatest logit; the first of equally large ones counts.
    pub correct: u64,
    /// Samples whose class is among the [`TOP`] greatest logits.
    pub in_top: u64,
    /// Samples of class i that were predicted as class j, at i · classes + j; empty for more than 1,024 classes.
    pub confusion: Vec<u64>,
    /// Samples of each class, and those of them that were predicted correctly.
    of_class: Vec<[u64; 2]>,
    bins: [Bin; CALIBRATION_BINS],
}

/// The samples whose greatest probability lies in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    samples: u64,
    correct: u64,
    confidence: f64,
}

impl Tally {
    /// No samples yet.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            samples: 0,
            loss: 0.0,
            correct: 0,
            in_top: 0,
            confusion: if classes > MOST_CONFUSED { Vec::new() } else { vec![0; classes * classes] },
            of_class: vec![[0; 2]; classes],
            bins: [Bin::default(); CALIBRATION_BINS],
        }
    }

    /// Adds a sample of class `target`, which must be below the number of classes, with its logits and its loss. If a
    /// logit is NaN, the prediction is wrong, and no class is counted as predicted.
    pub fn add(&mut self, logits: &[f32], target: usize, loss: f64) {
        self.samples += 1;
        self.loss += loss;
        self.of_class[target][0] += 1;
        let Some(predicted) = predicted(logits) else { return };
        let correct = predicted == target;
        self.correct += u64::from(correct);
        self.of_class[target][1] += u64::from(correct);
        if let Some(count) = self.confusion.get_mut(target * self.classes + predicted) {
            *count += 1;
        }
        let own = logits[target];
        let before = logits[..target].iter().filter(|logit| **logit >= own).count();
        let after = logits[target + 1..].iter().filter(|logit| **logit > own).count();
        self.in_top += u64::from(before + after < TOP);
        let confidence = probabilities(logits)[predicted];
        // The intervals are open below and closed above.
        let place =
            (libm::ceil(confidence * CALIBRATION_BINS as f64) as usize).clamp(1, CALIBRATION_BINS) - 1;
        let bin = &mut self.bins[place];
        bin.samples += 1;
        bin.correct += u64::from(correct);
        bin.confidence += confidence;
    }

    /// Mean loss in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// Share of correct predictions.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }

    /// Share of samples whose class is among the [`TOP`] greatest logits; `None` for few classes.
    pub fn top_accuracy(&self) -> Option<f64> {
        (self.classes >= LEAST_CLASSES).then(|| self.in_top as f64 / self.samples as f64)
    }

    /// Accuracy on the samples of each class; `None` for a class without samples.
    pub fn class_accuracies(&self) -> Vec<Option<f64>> {
        let of = |[samples, correct]: &[u64; 2]| (*samples > 0).then(|| *correct as f64 / *samples as f64);
        self.of_class.iter().map(of).collect()
    }

    /// The expected calibration error (Guo et al., ICML 2017, equation 3): the mean distance between confidence and
    /// accuracy over bins of equal width, weighted by their samples.
    pub fn calibration_error(&self) -> f64 {
        let gap = |bin: &Bin| (bin.correct as f64 - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / self.samples as f64
    }

    /// Samples, mean confidence and accuracy of each bin; `None` in empty ones.
    pub fn reliability(&self) -> Vec<Option<(u64, f64, f64)>> {
        let of = |bin: &Bin| {
            let samples = bin.samples as f64;
            (bin.samples > 0).then(|| (bin.samples, bin.confidence / samples, bin.correct as f64 / samples))
        };
        self.bins.iter().map(of).collect()
    }
}

/// The class of the greatest logit, the first of equally large ones; `None` if one is NaN or there is none.
pub fn predicted(logits: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (class, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return None;
        }
        if best.is_none_or(|best| logits[best] < *logit) {
            best = Some(class);
        }
    }
    best
}

/// The softmax of a sample's logits, in f64 with pinned functions.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponentials: Vec<f64> = logits.iter().map(|&logit| libm::exp(f64::from(logit) - greatest)).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|exponential| exponential / sum).collect()
}

#[cfg(test)]
mod tests;
