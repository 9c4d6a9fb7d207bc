//! What makes methods look different that are the same in effect: how far the weights move, and how wide they look.

use lookbehind_common::job::{Alpha, JobSpec, Method};
use serde::Serialize;

/// Movement and radius of a method, to first order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Confounds {
    /// α·k·lr: how far the slow weights move in an outer step, in units of a gradient. With an adaptive α it is at most
    /// this, and usually close to it.
    pub alpha_k_lr: f64,
    /// Whether α is adaptive.
    pub adaptive: bool,
    /// Radius of the SAM step to which the method is equal to first order: ρ for SAM, kρ for Multistep-SAM, (k+1)ρ/2 for
    /// Lookbehind, whose descents are at ρ, 2ρ, …, kρ. `None` without ascents.
    pub effective_rho: Option<f64>,
    /// kρ, the length of the path; `None` without ascents.
    pub path: Option<f64>,
}

/// The confounds of a job.
pub(super) fn confounds(spec: &JobSpec) -> Confounds {
    let method = spec.optimizer.method;
    let parts = method.parts();
    let k = f64::from(parts.inner_steps());
    let lr = spec.optimizer.base.lr();
    let (descents, alpha) = match method {
        // One descent, whatever k is.
        Method::Sgd | Method::Sam { .. } | Method::MultistepSam { .. } => (1.0, 1.0),
        Method::Lookahead { alpha, .. }
        | Method::LookaheadSam { alpha, .. }
        | Method::Lookbehind { alpha, .. } => (k, if let Alpha::Static(alpha) = alpha { alpha } else { 1.0 }),
    };
    let rho = parts.ascent.map(|ascent| ascent.rho);
    let (effective, path) = match method {
        Method::Sgd | Method::Sam { .. } | Method::Lookahead { .. } | Method::LookaheadSam { .. } => {
            (1.0, 1.0)
        }
        Method::MultistepSam { .. } => (k, k),
        Method::Lookbehind { .. } => ((k + 1.0) / 2.0, k),
    };
    Confounds {
        alpha_k_lr: alpha * descents * lr,
        adaptive: parts.alpha == Some(Alpha::Adaptive),
        effective_rho: rho.map(|rho| rho * effective),
        path: rho.map(|rho| rho * path),
    }
}
