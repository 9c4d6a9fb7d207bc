//! The names of kinds of noise, measures of sharpness and ways to treat batch statistics, as users write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::job::did_you_mean;

/// A name that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {what}: one of {}; found {found:?}{}", known.join(", "), did_you_mean(found, known.iter().copied()))]
pub struct UnknownName {
    /// What was expected.
    what: &'static str,
    /// The names that mean something.
    known: Vec<&'static str>,
    /// The name that was found.
    found: String,
}

/// An enumeration whose variants have names, in the order in which they are listed.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or_else(|| UnknownName {
                    what: $what,
                    known: Self::ALL.iter().map(|known| known.as_str()).collect(),
                    found: text.to_owned(),
                })
            }
        }
    };
}

named! {
    /// How weights are disturbed. ξ is standard normal, drawn anew for each element.
    NoiseKind, "a kind of noise" {
        /// w (1 + σ ξ), with σ the level.
        Multiplicative = "multiplicative",
        /// w + η max|W| ξ, with η the level and W the tensor of w.
        RelativeMax = "relative_max",
        /// w + σ ξ, with σ the level.
        Additive = "additive",
        /// w rounded to the nearest of 2^(b − 1) − 1 equal steps to each side of zero, the outermost at ± max|W|, with b
        /// the level, in bits. There is nothing random in it.
        Quantize = "quantize",
    }
}

named! {
    /// How much the loss grows in the neighbourhood of the weights.
    SharpnessMeasure, "a measure of sharpness" {
        /// After one normalised step of SAM: L(w + ρ g / ‖g‖) − L(w).
        OneStep = "one_step",
        /// The largest loss of a projected ascent within ‖δ‖ ≤ ρ.
        WorstL2 = "worst_l2",
        /// The largest loss of APGD within ‖δ / |w|‖ ≤ ρ, of normalised logits.
        WorstAdaptiveL2 = "worst_adaptive_l2",
        /// The largest loss of APGD within |δ| ≤ ρ |w| for each element, of normalised logits.
        WorstAdaptiveLinf = "worst_adaptive_linf",
        /// The mean loss at w + ρ ξ, ξ standard normal.
        AverageL2 = "average_l2",
        /// The mean loss at w + ρ ξ, ξ uniform in [−1, 1).
        AverageLinf = "average_linf",
        /// The mean loss at w + ρ |w| ξ, ξ standard normal.
        AverageAdaptiveL2 = "average_adaptive_l2",
        /// The mean loss at w + ρ |w| ξ, ξ uniform in [−1, 1).
        AverageAdaptiveLinf = "average_adaptive_linf",
    }
}

named! {
    /// With which statistics normalisation layers compute while the weights are disturbed.
    BatchStatistics, "a treatment of batch statistics" {
        /// The model's running statistics.
        Frozen = "frozen",
        /// The mean of the statistics of some training batches at the disturbed weights.
        Recalibrated = "recalibrated",
    }
}

named! {
    /// The samples on which loss and accuracy are computed.
    EvaluatedSplit, "a split" {
        /// The test split.
        Test = "test",
        /// The training split, without augmentation.
        Train = "train",
    }
}

impl SharpnessMeasure {
    /// Whether it is a mean over draws; otherwise each m-batch has an ascent of its own.
    pub fn is_average(self) -> bool {
        match self {
            Self::OneStep | Self::WorstL2 | Self::WorstAdaptiveL2 | Self::WorstAdaptiveLinf => false,
            Self::AverageL2 | Self::AverageLinf | Self::AverageAdaptiveL2 | Self::AverageAdaptiveLinf => true,
        }
    }

    /// Whether logits are normalised before the loss is computed, so that the measure does not depend on their scale.
    pub fn normalises_logits(self) -> bool {
        matches!(self, Self::WorstAdaptiveL2 | Self::WorstAdaptiveLinf)
    }
}
