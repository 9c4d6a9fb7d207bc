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

    /// Whether all numbers are finite. The gradient's norm says so for the gradient; only where it is not
    /// finite, the culprit is looked for.
    pub(super) fn finite(
        &self,
        norm: f64,
        gradient: &Arena,
        batch_statistics: &Arena,
    ) -> Result<(), AbsorbError> {
        if !norm.is_finite() {
            self.all_finite("gradient", TensorKind::Parameter, gradient)?;
        }
        self.all_finite("batch statistics", TensorKind::Statistic, batch_statistics)
    }

    /// Whether the weights that an outer step has come to are finite: their norm says so.
    pub(super) fn weights(&self, norm: f64, weights: &Arena) -> Result<(), AbsorbError> {
        if norm.is_finite() { Ok(()) } else { self.all_finite("weights", TensorKind::Parameter, weights) }
    }

    fn all_finite(&self, what: &'static str, kind: TensorKind, arena: &Arena) -> Result<(), AbsorbError> {
        let mut entries = self.layout.entries().iter().filter(|entry| entry.spec.kind == kind);
        let Some((at, &value)) = arena.iter().enumerate().find(|(_, value)| !value.is_finite()) else {
            return Ok(());
        };
        let Some(entry) = entries.find(|entry| entry.range.contains(&at)) else {
            return Ok(());
        };
        let (tensor, index) = (entry.spec.name.clone(), at - entry.range.start);
        Err(AbsorbError::NonFinite { evaluation: self.evaluation, what, tensor, index, value })
    }
}
