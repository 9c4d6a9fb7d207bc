//! What each gradient of an outer step is for. The methods of the family differ in nothing else (design,
//! section 2).

use crate::job::{Alpha, Ascent, InnerGradients, Method};

/// Weights at which a gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// The fast weights f; the slow ones before the first descent.
    Fast,
    /// The perturbed weights φ′; the slow ones before the first ascent.
    Perturbed,
}

/// What one gradient is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// Batch that it is computed of, among those of the outer step.
    pub(super) batch: u32,
    /// Where it is computed.
    pub(super) at: Point,
    /// Whether the perturbed weights move on to `at` + ε.
    pub(super) ascends: bool,
    /// Whether the base optimizer takes a step with it.
    pub(super) descends: bool,
}

impl Role {
    /// Forward passes of the published reference that the evaluation stands for: one for each use.
    pub(super) fn passes(self) -> u32 {
        u32::from(self.ascends) + u32::from(self.descends)
    }
}

/// How ascents and descents follow each other.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// A descent with each gradient.
    Descents,
    /// In each inner step an ascent that starts at a point, then a descent.
    Pairs(Point),
    /// One path of ascents; the gradient at each new point serves the next ascent, and where `descents` is
    /// set a descent as well. The gradient at the last point always descends.
    Path { descents: bool },
}

/// One outer step: a fixed sequence of roles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pattern: Pattern,
    switches_batch: bool,
    /// Inner steps.
    pub(super) inner_steps: u32,
    /// How the slow weights move at the end; `None` where they become the fast ones. α = 1 is the same.
    pub(super) interpolation: Option<Alpha>,
}

impl Program {
    /// The program of an outer step that gets `batches` batches: a method that takes several does one inner
    /// step with each.
    pub(super) fn new(method: &Method, batches: u32) -> Self {
        let (pattern, k, alpha) = match *method {
            Method::Sgd => (Pattern::Descents, 1, None),
            Method::Sam { .. } => (Pattern::Pairs(Point::Fast), 1, None),
            Method::Lookahead { k, alpha } => (Pattern::Descents, k, Some(alpha)),
            Method::LookaheadSam { k, alpha, .. } => (Pattern::Pairs(Point::Fast), k, Some(alpha)),
            Method::MultistepSam { k, .. } => (Pattern::Path { descents: false }, k, None),
            Method::Lookbehind { k, alpha, gradients, .. } => match gradients {
                InnerGradients::Reuse => (Pattern::Path { descents: true }, k, Some(alpha)),
                InnerGradients::Reference(_) => (Pattern::Pairs(Point::Perturbed), k, Some(alpha)),
            },
        };
        let (k, switches_batch) = (k.max(1), method.batches_per_outer_step() > 1);
        Self {
            pattern,
            switches_batch,
            inner_steps: if switches_batch { batches.clamp(1, k) } else { k },
            interpolation: alpha.filter(|&alpha| alpha != Alpha::Static(1.0)),
        }
    }

    /// Gradients in all.
    pub(super) fn evaluations(&self) -> u32 {
        match self.pattern {
            Pattern::Descents => self.inner_steps,
            Pattern::Pairs(_) => 2 * self.inner_steps,
            Pattern::Path { .. } => self.inner_steps + 1,
        }
    }

    /// What the gradient number `index` is for.
    pub(super) fn role(&self, index: u32) -> Role {
        let last = self.inner_steps.saturating_sub(1);
        let (inner, at, ascends, descends) = match self.pattern {
            Pattern::Descents => (index, Point::Fast, false, true),
            Pattern::Pairs(start) if index.is_multiple_of(2) => (index / 2, start, true, false),
            Pattern::Pairs(_) => (index / 2, Point::Perturbed, false, true),
            Pattern::Path { descents } => {
                (index.min(last), Point::Perturbed, index <= last, index > last || (descents && index > 0))
            }
        };
        Role { batch: if self.switches_batch { inner } else { 0 }, at, ascends, descends }
    }

    /// Whether the gradient number `index` is the outer step's last.
    pub(super) fn is_last(&self, index: u32) -> bool {
        index + 1 >= self.evaluations()
    }

    /// Whether the gradient number `index` is computed at weights that the one before it has moved.
    pub(super) fn weights_changed(&self, index: u32) -> bool {
        let Some(before) = index.checked_sub(1).map(|before| self.role(before)) else {
            return true;
        };
        let at = self.role(index).at;
        at != before.at
            || match at {
                Point::Fast => before.descends,
                Point::Perturbed => before.ascends,
            }
    }
}

/// The ascent of a method, if it has one.
pub(super) fn ascent_of(method: &Method) -> Option<Ascent> {
    match *method {
        Method::Sgd | Method::Lookahead { .. } => None,
        Method::Sam { ascent }
        | Method::LookaheadSam { ascent, .. }
        | Method::MultistepSam { ascent, .. }
        | Method::Lookbehind { ascent, .. } => Some(ascent),
    }
}

#[cfg(test)]
#[path = "program_test.rs"]
mod tests;
