//! What makes methods look different that are the same in effect: how far the weights move, and how wide they look. A study
//! shows both, and can set both in place of the keys that they follow from.

use lookbehind_common::job::{Alpha, DescentGradient, JobSpec, Method, Setting};
use serde::Serialize;
use toml::Value;

/// The path in `set` or `grid` that stands for the radius in effect.
pub const EFFECTIVE_RHO: &str = "effective_rho";
/// The path in `set` or `grid` that stands for the movement of an outer step.
pub const ALPHA_K_LR: &str = "alpha_k_lr";

/// Movement and radius of a method, to first order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Confounds {
    /// α·k·lr: how far the slow weights move in an outer step, in units of a gradient. With an adaptive α it is at most
    /// this, and usually close to it.
    pub alpha_k_lr: f64,
    /// Whether α is adaptive.
    pub adaptive: bool,
    /// Radius of the SAM step to which the method is equal to first order: ρ for SAM, kρ for Multistep-SAM, (k+1)ρ/2 for
    /// Lookbehind, whose descents are at ρ, 2ρ, …, kρ, and for Multistep-SAM with the mean of these gradients. `None`
    /// without ascents.
    pub effective_rho: Option<f64>,
    /// kρ, the length of the path; `None` without ascents.
    pub path: Option<f64>,
}

impl Confounds {
    /// Those of a job.
    pub fn of(spec: &JobSpec) -> Self {
        let parts = spec.optimizer.method.parts();
        let radii = radii(&spec.optimizer.method).zip(parts.ascent);
        Self {
            alpha_k_lr: movement(&spec.optimizer.method) * spec.optimizer.base.lr(),
            adaptive: parts.alpha == Some(Alpha::Adaptive),
            effective_rho: radii.map(|((effective, _), ascent)| effective * ascent.rho),
            path: radii.map(|((_, path), ascent)| path * ascent.rho),
        }
    }
}

/// The key that a movement or a radius in effect stands for, with its value. `None` if the value is not a number above 0,
/// or the method has no ascents.
pub fn resolve(path: &str, value: &Value, method: &Method) -> Option<Setting> {
    let value = value.as_float().or(value.as_integer().map(|value| value as f64));
    let value = value.filter(|value| *value > 0.0)?;
    if path == ALPHA_K_LR {
        return Some(Setting::new("optimizer.base.lr", value / movement(method)));
    }
    radii(method).map(|(effective, _)| Setting::new("optimizer.rho", value / effective))
}

/// α·k: the movement of an outer step in units of lr.
fn movement(method: &Method) -> f64 {
    match *method {
        // One descent, whatever k is.
        Method::Sgd | Method::Sam { .. } | Method::MultistepSam { .. } | Method::Rwp { .. } => 1.0,
        Method::Lookahead { k, alpha }
        | Method::LookaheadSam { k, alpha, .. }
        | Method::Lookbehind { k, alpha, .. } => {
            f64::from(k) * if let Alpha::Static(alpha) = alpha { alpha } else { 1.0 }
        }
    }
}

/// Radius in effect and length of the path in units of ρ; `None` without ascents.
fn radii(method: &Method) -> Option<(f64, f64)> {
    let k = f64::from(method.parts().inner_steps());
    match method {
        Method::Sgd | Method::Lookahead { .. } | Method::Rwp { .. } => None,
        Method::Sam { .. } | Method::LookaheadSam { .. } => Some((1.0, 1.0)),
        Method::MultistepSam { descent: DescentGradient::Last, .. } => Some((k, k)),
        Method::MultistepSam { descent: DescentGradient::Mean, .. } | Method::Lookbehind { .. } => {
            Some(((k + 1.0) / 2.0, k))
        }
    }
}
