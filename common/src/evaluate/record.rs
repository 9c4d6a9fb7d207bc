//! The records of units: what is computed, before anything is summarised.

use serde::{Deserialize, Deserializer, Serialize};

use super::{BatchStatistics, NoiseKind, SharpnessMeasure, Tally};

/// The record of a unit. As JSON, a number that is not finite is `null`, and reads as not a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum Record {
    /// Of [`Unit::Scores`](super::Unit::Scores).
    Scores(Scores),
    /// Of [`Unit::Noise`](super::Unit::Noise).
    Noise {
        /// Kind of the noise.
        kind: NoiseKind,
        /// Statistics of normalisation layers.
        statistics: BatchStatistics,
        /// Level of the noise.
        level: f64,
        /// Number of the draw.
        draw: u32,
        /// Mean loss.
        #[serde(deserialize_with = "number")]
        loss: f64,
        /// Share of correct predictions.
        accuracy: f64,
    },
    /// Of [`Unit::Start`](super::Unit::Start).
    Start {
        /// Number of samples.
        samples: u64,
        /// Mean loss.
        #[serde(deserialize_with = "number")]
        loss: f64,
        /// Share of correct predictions.
        accuracy: f64,
    },
    /// Of [`Unit::Climb`](super::Unit::Climb).
    Climb {
        /// What was climbed.
        measure: SharpnessMeasure,
        /// The radius.
        radius: f64,
        /// Number of the m-batch.
        batch: u64,
        /// Its samples.
        samples: u64,
        /// Mean loss at the weights; of normalised logits, where the measure has them.
        #[serde(deserialize_with = "number")]
        loss: f64,
        /// Mean loss at the worst point.
        #[serde(deserialize_with = "number")]
        worst_loss: f64,
        /// Share of wrong predictions at the worst point less that at the weights.
        error_increase: f64,
    },
    /// Of [`Unit::Average`](super::Unit::Average).
    Average {
        /// What was drawn.
        measure: SharpnessMeasure,
        /// The radius.
        radius: f64,
        /// Number of the draw.
        draw: u32,
        /// Mean loss.
        #[serde(deserialize_with = "number")]
        loss: f64,
        /// Share of correct predictions.
        accuracy: f64,
    },
    /// Of [`Unit::Eigenvalues`](super::Unit::Eigenvalues).
    Eigenvalues {
        /// Whether the differences of gradients were over half the distance.
        half: bool,
        /// Distance from the weights at which the gradients were computed.
        distance: f64,
        /// The greatest eigenvalues, in descending order.
        eigenvalues: Vec<f64>,
        /// ‖H v − λ v‖ of each.
        residuals: Vec<f64>,
        /// Products with vectors that it took.
        products: u32,
    },
    /// Of [`Unit::Trace`](super::Unit::Trace).
    Trace {
        /// Number of the probe.
        probe: u32,
        /// vᵀ H v.
        #[serde(deserialize_with = "number")]
        value: f64,
    },
}

/// Loss, accuracy and the rest on a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Number of samples.
    pub samples: u64,
    /// Mean loss in nats.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// Share of samples whose class is among the five most probable ones; absent with fewer than ten classes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub top5_accuracy: Option<f64>,
    /// Expected calibration error over 15 bins of equal width.
    #[serde(deserialize_with = "number")]
    pub calibration_error: f64,
    /// Accuracy on the samples of each class; absent for a class without samples.
    pub class_accuracies: Vec<Option<f64>>,
    /// Samples of each class (row) by the class that was predicted (column); empty for more than 1,024 classes.
    pub confusion: Vec<Vec<u64>>,
    /// Samples, mean confidence and accuracy of each bin of confidence; absent for empty ones.
    pub reliability: Vec<Option<(u64, f64, f64)>>,
}

impl Scores {
    /// The scores of what was predicted for samples of `classes` classes.
    pub fn of(tally: &Tally, classes: usize) -> Self {
        Self {
            samples: tally.samples,
            loss: tally.mean_loss(),
            accuracy: tally.accuracy(),
            top5_accuracy: tally.top_accuracy(),
            calibration_error: tally.calibration_error(),
            class_accuracies: tally.class_accuracies(),
            confusion: tally.confusion.chunks_exact(classes.max(1)).map(<[u64]>::to_vec).collect(),
            reliability: tally.reliability(),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
