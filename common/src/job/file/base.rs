//! `[optimizer.base]`: the optimizer that takes the descents.

use serde::{Deserialize, Serialize};

/// Names of the base optimizers in job files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are those of `BaseOptimizer`, documented there")]
pub enum BaseName {
    #[default]
    Sgd,
    Adam,
    Adamw,
    Lion,
}

/// Decay rates of the first and second moment of Adam and AdamW if the job gives none.
pub const DEFAULT_BETAS: [f64; 2] = [0.9, 0.999];
/// Rates of Lion if the job gives none.
pub const DEFAULT_LION_BETAS: [f64; 2] = [0.9, 0.99];

impl BaseName {
    /// The name as in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            BaseName::Sgd => "sgd",
            BaseName::Adam => "adam",
            BaseName::Adamw => "adamw",
            BaseName::Lion => "lion",
        }
    }

    /// `betas` if the job gives none. SGD has no use for them.
    pub fn default_betas(self) -> [f64; 2] {
        match self {
            BaseName::Lion => DEFAULT_LION_BETAS,
            BaseName::Sgd | BaseName::Adam | BaseName::Adamw => DEFAULT_BETAS,
        }
    }
}

/// `[optimizer.base]`. Keys that the kind does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSection {
    /// Kind of the base optimizer; default sgd.
    #[serde(default)]
    pub kind: BaseName,
    /// Learning rate before the schedule; default 0.1 for sgd, 0.001 for adam and adamw, 0.0001 for lion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// sgd: momentum; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// sgd: whether the momentum is Nesterov's; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Weight decay; default 0 for sgd, adam and lion, 0.01 for adamw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether weight decay acts on tensors of fewer than two dimensions; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_biases_and_norms: Option<bool>,
    /// adam, adamw: decay rates of the first and second moment; lion: rates of the step and of the momentum. Defaults:
    /// [`BaseName::default_betas`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// adam, adamw: added to the denominator; default 1e-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
}
