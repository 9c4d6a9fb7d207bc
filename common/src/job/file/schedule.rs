//! `[schedule]`: the learning rate over time.

use serde::{Deserialize, Serialize};

use crate::schedule::Unit;

/// Names of the schedules in job files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are those of `schedule::Shape`, documented there")]
pub enum ScheduleName {
    #[default]
    Constant,
    Multistep,
    Cosine,
    Polynomial,
    OneCycle,
}

impl ScheduleName {
    /// The name as in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            ScheduleName::Constant => "constant",
            ScheduleName::Multistep => "multistep",
            ScheduleName::Cosine => "cosine",
            ScheduleName::Polynomial => "polynomial",
            ScheduleName::OneCycle => "one_cycle",
        }
    }
}

/// `[schedule]`: the learning rate over time. Keys that the kind does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSection {
    /// Shape after the warm-up; default constant.
    #[serde(default)]
    pub kind: ScheduleName,
    /// Unit of time; default epoch for jobs with `epochs`, and step for jobs with `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// multistep: units at which the rate is multiplied by `gamma`; required, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<u64>,
    /// multistep: factor at each milestone; default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// cosine, polynomial: learning rate at the end; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// polynomial: power; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// one_cycle: part of the training in which the rate rises; default 0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pct_start: Option<f64>,
    /// one_cycle: the rate begins at that of the base optimizer divided by this; default 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub div_factor: Option<f64>,
    /// one_cycle: the rate ends at its beginning divided by this; default 10 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_div_factor: Option<f64>,
    /// Units of linear warm-up; default 0. Not for one_cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// Factor of the learning rate in the first unit of the warm-up; default 0.1. Not for one_cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_start: Option<f64>,
}
