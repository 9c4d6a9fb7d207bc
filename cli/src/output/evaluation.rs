//! What `evaluate` leaves in its folder, and what it consists of.
//!
//! | file | content |
//! | --- | --- |
//! | `evaluation.json` | what was evaluated, and what it cost |
//! | `records.jsonl` | one line per model and unit of work: each draw, each m-batch, each probe |
//! | `results.jsonl`, `results.csv` | one line per model and result: what the records come to |
//! | `report.md` | the same for people, with classes and confusion |
//! | `NAME.svg` | a curve for each measure that has levels or radii |
//!
//! While it is computed, `unfinished.jsonl` has the records so far, in the order in which they came.

pub mod curves;
mod folder;
pub mod report;

use lookbehind_common::digest::Digest;
use lookbehind_common::evaluate::{Plan, Request};
use lookbehind_worker::data::DataReport;
use serde::Serialize;

pub use folder::EvaluationFolder;

/// What is evaluated.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of the program.
    pub version: &'static str,
    /// The models.
    pub models: Vec<Evaluated>,
    /// What was asked.
    pub request: Request,
    /// Samples on which loss and accuracy are computed.
    pub samples: u64,
    /// Training samples of sharpness; 0 without.
    pub sharpness_samples: u64,
    /// Training samples of the Hessian; 0 without.
    pub hessian_samples: u64,
    /// Names of the classes, in their order; empty where classes are numbers.
    pub classes: Vec<String>,
    /// Fingerprint of the data.
    pub data_fingerprint: Digest,
    /// Samples whose gradients are computed, over all models, at most.
    pub gradient_samples: u64,
    /// Samples of forward passes, over all models, at most.
    pub forward_samples: u64,
    /// Both in gradients of a batch of the job; a forward pass counts a third.
    pub cost_in_gradients: f64,
}

/// A model that is evaluated.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluated {
    /// What the user calls it.
    pub name: String,
    /// Digest of its weights.
    pub digest: Digest,
}

/// The prediction for one sample, as a line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Predicted {
    /// Number of the sample, from 0.
    pub sample: u64,
    /// File of the sample, where each file is a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Name of the class that is most probable, or its number where classes have no names; absent if the model's output
    /// is not a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Its probability.
    pub probability: f64,
    /// Probability of each class, in their order.
    pub probabilities: Vec<f64>,
    /// The class that the data give, if they have labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Evaluation {
    /// What a plan comes to for these models.
    pub fn new(plan: &Plan, models: Vec<Evaluated>, data: &DataReport) -> Self {
        let (cost, number) = (plan.cost(), models.len() as u64);
        Self {
            version: lookbehind_common::BUILD_VERSION,
            request: plan.request.clone(),
            samples: plan.sizes.split,
            sharpness_samples: plan.sharpness_samples(),
            hessian_samples: plan.hessian_samples(),
            classes: data.class_names.clone(),
            data_fingerprint: data.description.fingerprint,
            gradient_samples: cost.gradients.saturating_mul(number),
            forward_samples: cost.forwards.saturating_mul(number),
            cost_in_gradients: cost.in_gradients(plan.sizes.batch) * number as f64,
            models,
        }
    }
}

#[cfg(test)]
mod tests;
