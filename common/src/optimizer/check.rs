//! Checks gradients, batch statistics and weights.

use super::messages::AbsorbError;
use crate::layout::{Layout, TensorKind};
use crate::model_state::ModelState;
use crate::partial::Partial;

/// Checks what belongs to one gradient against the layout.
pub(super) struct Check<'a> {
    /// Number of the gradient within the outer step, from 0, for error messages.
    pub(super) gradient: u32,
    /// The layout of what is checked: of the model, or of its gradients.
    pub(super) layout: &'a Layout,
}

impl Check<'_> {
    /// Checks that the flat buffers have the layout's lengths.
    pub(super) fn lengths(&self, gradient: &[f32], batch_statistics: &[f32]) -> Result<(), AbsorbError> {
        self.length("gradient", gradient, self.layout.parameters())?;
        self.length("batch statistics", batch_statistics, self.layout.statistics())
    }

    /// Checks that weights have the layout's length.
    pub(super) fn weights_length(&self, weights: &[f32]) -> Result<(), AbsorbError> {
        self.length("weights", weights, self.layout.parameters())
    }

    /// Checks that the sum of visits has these lengths.
    pub(super) fn visits(&self, visits: &Partial, expected: ModelState<usize>) -> Result<(), AbsorbError> {
        self.length("gradient", &visits.gradient, expected.parameters)?;
        self.length("batch statistics", &visits.statistics, expected.statistics)
    }

    fn length(&self, what: &'static str, flat_buffer: &[f32], expected: usize) -> Result<(), AbsorbError> {
        if flat_buffer.len() == expected {
            return Ok(());
        }
        Err(AbsorbError::Length { gradient: self.gradient, what, found: flat_buffer.len(), expected })
    }

    /// Checks that all values are finite. The gradient's norm is finite exactly if all its values are, so the gradient
    /// is read again only to find the value to report.
    pub(super) fn finite(
        &self,
        norm: f64,
        gradient: &[f32],
        batch_statistics: &[f32],
    ) -> Result<(), AbsorbError> {
        self.finite_gradient(norm, gradient)?;
        self.finite_statistics(batch_statistics)
    }

    /// Checks that all values of a gradient with this norm are finite.
    pub(super) fn finite_gradient(&self, norm: f64, gradient: &[f32]) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "gradient", gradient)
    }

    /// Checks that all batch statistics are finite.
    pub(super) fn finite_statistics(&self, batch_statistics: &[f32]) -> Result<(), AbsorbError> {
        match position(batch_statistics) {
            None => Ok(()),
            Some(at) => {
                Err(self.not_finite("batch statistics", TensorKind::RunningStatistic, batch_statistics, at))
            }
        }
    }

    /// Checks that the weights after an outer step are finite, by their norm.
    pub(super) fn weights(&self, norm: f64, weights: &[f32]) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "weights", weights)
    }

    #[expect(
        clippy::expect_used,
        reason = "squares of f32 values do not overflow the f64 sum that the norm is made of"
    )]
    fn norm_finite(&self, norm: f64, what: &'static str, flat_buffer: &[f32]) -> Result<(), AbsorbError> {
        if norm.is_finite() {
            return Ok(());
        }
        let at = position(flat_buffer).expect("a norm that is not finite has a value that is not");
        Err(self.not_finite(what, TensorKind::Parameter, flat_buffer, at))
    }

    #[expect(
        clippy::expect_used,
        reason = "the lengths were checked against the layout, whose tensors leave no gap"
    )]
    fn not_finite(
        &self,
        what: &'static str,
        kind: TensorKind,
        flat_buffer: &[f32],
        at: usize,
    ) -> AbsorbError {
        let mut entries = self.layout.entries().iter().filter(|entry| entry.spec.kind == kind);
        let entry = entries.find(|entry| entry.range.contains(&at)).expect("every value belongs to a tensor");
        AbsorbError::NonFinite {
            gradient: self.gradient,
            what,
            tensor: entry.spec.name.clone(),
            index: at - entry.range.start,
            value: flat_buffer[at],
        }
    }
}

/// Index of the first value that is not finite.
fn position(flat_buffer: &[f32]) -> Option<usize> {
    flat_buffer.iter().position(|value| !value.is_finite())
}
