//! Checks gradients, batch statistics and weights.

use super::messages::AbsorbError;
use crate::flat_buffer::FlatBuffer;
use crate::layout::{Layout, TensorKind};

/// Checks what belongs to one gradient against the layout.
pub(super) struct Check<'a> {
    /// Number of the gradient within the outer step, from 0, for error messages.
    pub(super) gradient: u32,
    pub(super) layout: &'a Layout,
}

impl Check<'_> {
    /// Checks that the flat buffers have the layout's lengths.
    pub(super) fn lengths(
        &self,
        gradient: &FlatBuffer,
        batch_statistics: &FlatBuffer,
    ) -> Result<(), AbsorbError> {
        self.length("gradient", gradient, self.layout.parameters())?;
        self.length("batch statistics", batch_statistics, self.layout.statistics())
    }

    fn length(
        &self,
        what: &'static str,
        flat_buffer: &FlatBuffer,
        expected: usize,
    ) -> Result<(), AbsorbError> {
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
        gradient: &FlatBuffer,
        batch_statistics: &FlatBuffer,
    ) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "gradient", gradient)?;
        match position(batch_statistics) {
            None => Ok(()),
            Some(at) => {
                Err(self.not_finite("batch statistics", TensorKind::RunningStatistic, batch_statistics, at))
            }
        }
    }

    /// Checks that the weights after an outer step are finite, by their norm.
    pub(super) fn weights(&self, norm: f64, weights: &FlatBuffer) -> Result<(), AbsorbError> {
        self.norm_finite(norm, "weights", weights)
    }

    #[expect(
        clippy::expect_used,
        reason = "squares of f32 values do not overflow the f64 sum that the norm is made of"
    )]
    fn norm_finite(
        &self,
        norm: f64,
        what: &'static str,
        flat_buffer: &FlatBuffer,
    ) -> Result<(), AbsorbError> {
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
        flat_buffer: &FlatBuffer,
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
fn position(flat_buffer: &FlatBuffer) -> Option<usize> {
    flat_buffer.iter().position(|value| !value.is_finite())
}
