//! The methods of the family with their parameters. How each walks through an outer step stands in
//! `optimizer/methods`, in a file of its own.

use serde::{Deserialize, Serialize};

/// Names of the methods, as job files, metrics and the dashboard show them.
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
}

impl MethodName {
    /// The name as job files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodName::Sgd => "sgd",
            MethodName::Sam => "sam",
            MethodName::Lookahead => "lookahead",
            MethodName::LookaheadSam => "lookahead_sam",
            MethodName::MultistepSam => "multistep_sam",
            MethodName::Lookbehind => "lookbehind",
        }
    }
}

/// A method with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Base optimizer alone.
    Sgd,
    /// One ascent, one descent (Foret et al., ICLR 2021).
    Sam {
        /// The ascent.
        ascent: Ascent,
    },
    /// k base steps on k batches, then interpolation (Zhang et al., NeurIPS 2019).
    Lookahead {
        /// Inner steps.
        k: u32,
        /// Interpolation.
        alpha: Alpha,
    },
    /// k SAM steps on k batches, then interpolation.
    LookaheadSam {
        /// The ascent.
        ascent: Ascent,
        /// Inner steps.
        k: u32,
        /// Interpolation.
        alpha: Alpha,
    },
    /// k ascents, one descent with the gradient at the last point.
    MultistepSam {
        /// The ascent.
        ascent: Ascent,
        /// Ascents.
        k: u32,
        /// Whether each ascent has a batch of its own; the descent uses the last one.
        minibatch: Minibatch,
    },
    /// k ascents with a descent each, then interpolation (Mordido et al., ICML 2024).
    Lookbehind {
        /// The ascent.
        ascent: Ascent,
        /// Inner steps.
        k: u32,
        /// Interpolation.
        alpha: Alpha,
        /// Evaluations per outer step.
        gradients: InnerGradients,
    },
}

impl Method {
    /// What the method consists of. Everything else that depends on the method alone is asked of its parts.
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
            Method::MultistepSam { ascent, k, minibatch } => {
                (Name::MultistepSam, Some(ascent), Some(k), None, minibatch)
            }
            Method::Lookbehind { ascent, k, alpha, gradients } => {
                (Name::Lookbehind, Some(ascent), Some(k), Some(alpha), gradients.minibatch())
            }
        };
        MethodParts { name, ascent, k, alpha, minibatch }
    }

    /// Batches that a full outer step takes: one, or one for each inner step.
    pub fn batches_per_outer_step(&self) -> u64 {
        let parts = self.parts();
        match parts.minibatch {
            Minibatch::Same => 1,
            Minibatch::Switch => u64::from(parts.inner_steps()),
        }
    }
}

/// What a method consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodParts {
    /// Its name in job files.
    pub name: MethodName,
    /// How it ascends; `None` where it does not.
    pub ascent: Option<Ascent>,
    /// Inner steps as the job sets them; `None` where the method has always one.
    pub k: Option<u32>,
    /// How the slow weights follow the fast ones; `None` where they become the fast ones.
    pub alpha: Option<Alpha>,
    /// Which batches its inner steps see.
    pub minibatch: Minibatch,
}

impl MethodParts {
    /// Inner steps of a full outer step.
    pub fn inner_steps(&self) -> u32 {
        self.k.unwrap_or(1)
    }
}

/// How the ascent direction is scaled and how long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Length of one ascent step.
    pub rho: f64,
    /// Offset η of the adaptive scaling; `None` means T = 1 (plain SAM).
    pub eta: Option<f64>,
}

/// Interpolation factor of the slow weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// The same for all tensors and steps, in (0, 1].
    Static(f64),
    /// Per tensor, from the angle between the first and the last fast weights.
    Adaptive,
}

/// Which gradients the inner steps of Lookbehind use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerGradients {
    /// g_i serves the descent of step i and the ascent of step i+1: k+1 evaluations of one batch.
    Reuse,
    /// A gradient for each ascent and each descent: 2k evaluations.
    Reference(Minibatch),
}

impl InnerGradients {
    /// Which batches the inner steps see: reused gradients are all of one batch.
    fn minibatch(self) -> Minibatch {
        match self {
            InnerGradients::Reuse => Minibatch::Same,
            InnerGradients::Reference(minibatch) => minibatch,
        }
    }
}

/// Which batches the inner steps see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Minibatch {
    /// One for all.
    #[default]
    Same,
    /// A new one for every inner step.
    Switch,
}
