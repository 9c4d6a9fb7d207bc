//! Comparison of two runs: the samples and the compute class of each outer step, and the resulting weights.

use lookbehind_proto::v1;
use serde::{Deserialize, Serialize};

/// The properties of an outer step that an audit compares; the fields are those of the protocol's `OuterStepMetrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStep {
    /// Number of outer steps done, including this one.
    pub outer_step: u64,
    /// Epoch of the samples.
    pub epoch: u64,
    /// Position of the first sample in the order of that epoch.
    pub first_sample: u64,
    /// Number of samples.
    pub samples: u64,
    /// Digest of the probe, which identifies the compute class.
    pub compute_class: String,
    /// Digest of the slow weights after the outer step.
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

/// Result of an audit of two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Number of outer steps, from the first on, that are equal in both runs.
    pub same_outer_steps: u64,
    /// The first difference; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// The first difference between two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The outer step in which it occurs.
    pub outer_step: u64,
    /// Descriptions of what differs, causes before effects.
    pub what: Vec<String>,
}

/// Compares two runs step by step.
pub fn compare(first: &[AuditStep], second: &[AuditStep]) -> Audit {
    let differing = first.iter().zip(second).position(|(first, second)| first != second);
    // If no pair differs, the shorter run is equal to the beginning of the longer one.
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
