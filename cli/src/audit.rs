//! Two runs side by side: which samples went into each outer step, in which compute class, and what came out.

use lookbehind_proto::v1;
use serde::{Deserialize, Serialize};

/// What an audit compares of an outer step; the fields are the protocol's `OuterStepMetrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStep {
    /// Outer steps done with it.
    pub outer_step: u64,
    /// Epoch of its samples.
    pub epoch: u64,
    /// Where they begin in the order of that epoch.
    pub first_sample: u64,
    /// How many they are.
    pub samples: u64,
    /// Probe of the compute class.
    pub compute_class: String,
    /// Digest of the slow weights after it.
    pub digest: String,
}

impl From<&v1::OuterStepMetrics> for AuditStep {
    fn from(step: &v1::OuterStepMetrics) -> Self {
        Self {
            outer_step: step.outer_step,
            epoch: step.epoch,
            first_sample: step.first_sample,
            samples: step.samples,
            compute_class: step.compute_class.clone(),
            digest: step.digest.clone(),
        }
    }
}

impl AuditStep {
    fn sample_range(&self) -> String {
        format!("{}..{} of epoch {}", self.first_sample, self.first_sample + self.samples, self.epoch)
    }
}

/// What an audit of two runs says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Outer steps from the first on that are the same in both.
    pub same_outer_steps: u64,
    /// Where they first differ; absent where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// Where two runs first differ, and in what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The outer step.
    pub outer_step: u64,
    /// What differs, in words, in the order of cause and effect.
    pub what: Vec<String>,
}

/// Compares two runs step by step.
pub fn compare(first: &[AuditStep], second: &[AuditStep]) -> Audit {
    let differing = first.iter().zip(second).position(|(first, second)| first != second);
    // Where no pair differs, one run is the beginning of the other.
    let same = differing.unwrap_or(first.len().min(second.len()));
    let difference = match (first.get(same), second.get(same)) {
        (Some(first), Some(second)) => {
            Some(Difference { outer_step: first.outer_step, what: differences(first, second) })
        }
        (None, None) => None,
        (longer, other) => longer.or(other).map(|step| Difference {
            outer_step: step.outer_step,
            what: vec![format!(
                "only the {} run has it: {} and {} outer steps are recorded",
                if longer.is_some() { "first" } else { "second" },
                first.len(),
                second.len()
            )],
        }),
    };
    Audit { same_outer_steps: same as u64, difference }
}

fn differences(first: &AuditStep, second: &AuditStep) -> Vec<String> {
    let pairs = [
        ("number", first.outer_step.to_string(), second.outer_step.to_string()),
        ("samples", first.sample_range(), second.sample_range()),
        ("compute class", first.compute_class.clone(), second.compute_class.clone()),
        ("weights", first.digest.clone(), second.digest.clone()),
    ];
    pairs.iter().filter(|(_, a, b)| a != b).map(|(what, a, b)| format!("{what}: {a} and {b}")).collect()
}

#[cfg(test)]
mod tests;
