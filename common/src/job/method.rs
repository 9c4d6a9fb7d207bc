//! The methods of the family with their parameters. What each does in an outer step is in `optimizer/methods`, one file
//! per method.

use serde::{Deserialize, Serialize};

/// Names of the methods as in job files, metrics and the dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are those of `Method`, documented there")]
pub enum MethodName {
    Sgd,
    Sam,
    Lookahead,
    LookaheadSam,
    MultistepSam,
    #[default]
    Lookbehind,
    Rwp,
}

impl MethodName {
    /// The name as in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodName::Sgd => "sgd",
            MethodName::Sam => "sam",
            MethodName::Lookahead => "lookahead",
            MethodName::LookaheadSam => "lookahead_sam",
            MethodName::MultistepSam => "multistep_sam",
            MethodName::Lookbehind => "lookbehind",
            MethodName::Rwp => "rwp",
        }
    }
}

/// A method with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The base optimizer alone.
    Sgd,
    /// One ascent, then one descent (Foret et al., ICLR 2021).
    Sam {
        /// Norm and length of each ascent.
        ascent: Ascent,
    },
    /// k descents on k batches, then interpolation (Zhang et al., NeurIPS 2019).
    Lookahead {
        /// Inner steps per outer step, at least 1.
        k: u32,
        /// Factor of the interpolation at the end.
        alpha: Alpha,
    },
    /// k SAM steps on k batches, then interpolation.
    LookaheadSam {
        /// Norm and length of each ascent.
        ascent: Ascent,
        /// Inner steps per outer step, at least 1.
        k: u32,
        /// Factor of the interpolation at the end.
        alpha: Alpha,
    },
    /// k ascents, then one descent with the gradient at the last point or the mean of those at all k points.
    MultistepSam {
        /// Norm and length of each ascent.
        ascent: Ascent,
        /// Ascents per outer step, at least 1.
        k: u32,
        /// Whether each ascent has a batch of its own. The descent uses that of the last ascent.
        minibatch: Minibatch,
        /// Which gradient the descent takes.
        descent: DescentGradient,
    },
    /// k ascents, each followed by a descent, then interpolation (Mordido et al., ICML 2024).
    Lookbehind {
        /// Norm and length of each ascent.
        ascent: Ascent,
        /// Inner steps per outer step, at least 1.
        k: u32,
        /// Factor of the interpolation at the end.
        alpha: Alpha,
        /// Whether a gradient serves both a descent and the next ascent.
        gradients: InnerGradients,
    },
    /// Random weight perturbation: one descent with the gradient at φ + ρ ξ / ‖ξ‖, ξ standard normal and drawn anew for
    /// each outer step (after Li et al., TMLR 2024). A control for the methods with ascents: as far away, in a direction
    /// that costs no gradient.
    Rwp {
        /// Length ρ of the perturbation, over all parameters.
        rho: f64,
    },
}

impl Method {
    /// The parts of the method. Code that depends on the method alone takes what it needs from them.
    pub fn parts(&self) -> MethodParts {
        use MethodName as Name;
        let (name, ascent, k, alpha, minibatch) = match *self {
            Method::Sgd => (Name::Sgd, None, None, None, Minibatch::Same),
            Method::Sam { ascent } => (Name::Sam, Some(ascent), None, None, Minibatch::Same),
            Method::Lookahead { k, alpha } => {
                (Name::Lookahead, None, Some(k), Some(alpha), Minibatch::Switch)
            }
            Method::LookaheadSam { ascent, k, alpha } => {
                (Name::LookaheadSam, Some(ascent), Some(k), Some(alpha), Minibatch::Switch)
            }
            Method::MultistepSam { ascent, k, minibatch, .. } => {
                (Name::MultistepSam, Some(ascent), Some(k), None, minibatch)
            }
            Method::Lookbehind { ascent, k, alpha, gradients } => {
                (Name::Lookbehind, Some(ascent), Some(k), Some(alpha), gradients.minibatch())
            }
            Method::Rwp { .. } => (Name::Rwp, None, None, None, Minibatch::Same),
        };
        MethodParts { name, ascent, k, alpha, minibatch }
    }

    /// Length ρ of an ascent or of a random perturbation; `None` for methods whose gradients are at unperturbed weights.
    pub fn rho(&self) -> Option<f64> {
        match *self {
            Method::Rwp { rho } => Some(rho),
            _ => self.parts().ascent.map(|ascent| ascent.rho),
        }
    }

    /// Batches of a full outer step: one, or one for each inner step.
    pub fn batches_per_outer_step(&self) -> u64 {
        let parts = self.parts();
        match parts.minibatch {
            Minibatch::Same => 1,
            Minibatch::Switch => u64::from(parts.inner_steps()),
        }
    }
}

/// The parts of a method, in one form for all methods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodParts {
    /// Name of the method.
    pub name: MethodName,
    /// Norm and length of its ascents; `None` for a method without ascents.
    pub ascent: Option<Ascent>,
    /// Inner steps as the job sets them; `None` for a method that always has one.
    pub k: Option<u32>,
    /// Interpolation factor; `None` if the slow weights become the fast ones without interpolation.
    pub alpha: Option<Alpha>,
    /// Which batches its inner steps use.
    pub minibatch: Minibatch,
}

impl MethodParts {
    /// Inner steps of a full outer step.
    pub fn inner_steps(&self) -> u32 {
        self.k.unwrap_or(1)
    }
}

/// Norm, length and direction of an ascent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Length ρ of one ascent, in the norm that `eta` selects.
    pub rho: f64,
    /// Offset η of the adaptive scaling T = |φ′| + η (ASAM); `None` means T = 1 (plain SAM).
    pub eta: Option<f64>,
    /// Which gradient the ascents follow.
    pub perturbation: Perturbation,
}

/// Which gradient an ascent follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Perturbation {
    /// That of the whole batch, over all workers together.
    #[default]
    Global,
    /// That of each shard alone (m-sharpness: Foret et al., ICLR 2021, section 3): every shard has perturbed weights of
    /// its own.
    Shard,
}

/// Interpolation factor of the slow weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// The same for all tensors and outer steps, in (0, 1].
    Static(f64),
    /// One for each tensor, from the angle between the first and the last movement of the fast weights.
    Adaptive,
}

/// Which gradients the inner steps of Lookbehind use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerGradients {
    /// Gradient g_i serves the descent of inner step i and the ascent of inner step i + 1: k + 1 gradients of one
    /// batch.
    Reuse,
    /// One gradient for each ascent and one for each descent: 2k gradients.
    Reference(Minibatch),
}

impl InnerGradients {
    /// Which batches the inner steps use. A gradient of one batch cannot serve an inner step with another.
    fn minibatch(self) -> Minibatch {
        match self {
            InnerGradients::Reuse => Minibatch::Same,
            InnerGradients::Reference(minibatch) => minibatch,
        }
    }
}

/// Which gradient the descent of Multistep-SAM takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescentGradient {
    /// That at the last point.
    #[default]
    Last,
    /// The mean of those at all k points.
    Mean,
}

/// Which batches the inner steps of one outer step use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Minibatch {
    /// One batch for all inner steps.
    #[default]
    Same,
    /// A new batch for every inner step.
    Switch,
}
