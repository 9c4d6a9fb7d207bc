//! Checks of what comes in with an evaluation.

use super::messages::AbsorbError;
use crate::arena::Arena;
use crate::layout::{Layout, TensorKind};

/// Checks one evaluation against the layout.
pub(super) struct Check<'a> {
    /// Counts the evaluations of the outer step.
    pub(super) evaluation: u32,
    /// The model's tensors.
    pub(super) layout: &'a Layout,
}

impl Check<'_> {
    /// Whether the arenas are as long as the layout says.
    pub(super) fn lengths(&self, gradient: &Arena, batch_statistics: &Arena) -> Result<(), AbsorbError> {
        self.length("gradient", gradient, self.layout.parameters())?;
        self.length("batch statistics", batch_statistics, self.layout.statistics())
    }

    fn length(&self, what: &'static str, arena: &Arena, expected: usize) -> Result<(), AbsorbError> {
        if arena.len() == expected {
            return Ok(());
        }
        Err(AbsorbError::Length { evaluation: self.evaluation, what, found: arena.len(), expected })
    }

    /// Whether all numbers are finite. The gradient's norm says so for the gradient, without another pass over memory;
    /// only where it is not finite, the culprit is looked for.
    pub(super) fn finite(
        &self,
        norm: f64,
        gradient: &Arena,
        batch_statistics: &Arena,
    ) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "gradient", gradient)?;
        match position(batch_statistics) {
            None => Ok(()),
            Some(at) => Err(self.not_finite("batch statistics", TensorKind::Statistic, batch_statistics, at)),
        }
    }

    /// Whether the weights that an outer step has come to are finite: their norm says so.
    pub(super) fn weights(&self, norm: f64, weights: &Arena) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "weights", weights)
    }

    #[expect(
        clippy::expect_used,
        reason = "squares of f32 values do not overflow the f64 sum that the norm is made of"
    )]
    fn norm_finite(&self, norm: f64, what: &'static str, arena: &Arena) -> Result<(), AbsorbError> {
        if norm.is_finite() {
            return Ok(());
        }
        let at = position(arena).expect("a norm that is not finite has a value that is not");
        Err(self.not_finite(what, TensorKind::Parameter, arena, at))
    }

    #[expect(
        clippy::expect_used,
        reason = "the lengths were checked against the layout, whose tensors leave no gap"
    )]
    fn not_finite(&self, what: &'static str, kind: TensorKind, arena: &Arena, at: usize) -> AbsorbError {
        let mut entries = self.layout.entries().iter().filter(|entry| entry.spec.kind == kind);
        let entry = entries.find(|entry| entry.range.contains(&at)).expect("every value belongs to a tensor");
        AbsorbError::NonFinite {
            evaluation: self.evaluation,
            what,
            tensor: entry.spec.name.clone(),
            index: at - entry.range.start,
            value: arena[at],
        }
    }
}

/// Where the first value is that is not finite.
fn position(arena: &Arena) -> Option<usize> {
    arena.iter().position(|value| !value.is_finite())
}
