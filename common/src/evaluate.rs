//! Evaluating trained models: what is asked for, the arithmetic on flat buffers, and the results. A worker computes the
//! losses and gradients in between.
//!
//! An evaluation consists of units of work ([`Unit`]). The record of a unit is a pure function of the model's weights, the
//! job and the unit: which thread or worker computes it does not matter. All models of an evaluation share its keyed
//! draws and samples, so that their results can be compared in pairs.
//!
//! - [`Request`], [`Plan`]: what is evaluated, and the units that it takes.
//! - [`perturb`](fn@perturb), [`average_direction`]: weights under keyed noise.
//! - [`WorstCase`]: the ascent to the worst weights within a radius.
//! - [`top_eigenvalues`], [`rademacher`]: the curvature, from products of the Hessian with vectors.
//! - [`Tally`]: predictions compared with the targets.
//! - [`Record`], [`summarise`], [`compare`]: what units return, and what it says.

mod curvature;
mod eigen;
mod logits;
mod names;
mod noise;
mod plan;
mod projection;
mod record;
mod request;
mod statistics;
mod summary;
mod tally;
mod worst_case;

pub use curvature::{Curvature, hutchinson, rademacher, start_vector, top_eigenvalues};
pub use logits::{normalise_logits, pull_back};
pub use names::{BatchStatistics, EvaluatedSplit, NoiseKind, SharpnessMeasure, UnknownName};
pub use noise::{NoiseDraw, average_direction, is_noisy, perturb};
pub use plan::{Cost, Plan, Sizes, Unit};
pub use record::{Record, Scores};
pub use request::{Hessian, Noise, Request, Sharpness};
pub use statistics::{Difference, Spread, differences, quantile};
pub use summary::{Row, compare, summarise};
pub use tally::{CALIBRATION_BINS, TOP, Tally, predicted, probabilities};
pub use worst_case::WorstCase;
