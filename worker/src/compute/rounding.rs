//! Rounds the gradients of shards to the format in which a job's gradients are added and exchanged (`train.exchange`).

use std::sync::Arc;

use lookbehind_common::exchange_format::{ExchangeFormat, Overflow};
use lookbehind_common::job::JobSpec;
use lookbehind_common::layout::{Layout, TensorKind};
use lookbehind_common::optimizer::gradient_layout;
use lookbehind_common::partial::Partial;

use super::ComputeError;

/// How the gradients of a job's shards are rounded before they are added or climbed along.
#[derive(Clone, Debug)]
pub struct Rounding {
    format: ExchangeFormat,
    /// The layout of the gradients.
    layout: Arc<Layout>,
    /// The model's kind, for errors.
    kind: String,
}

impl Rounding {
    /// The rounding that a job asks for, for a model with this layout.
    pub fn of(spec: &JobSpec, layout: &Layout) -> Self {
        Self::new(spec.train.exchange, gradient_layout(&spec.optimizer, layout), &spec.model.kind)
    }

    pub(super) fn new(format: ExchangeFormat, layout: Layout, kind: &str) -> Self {
        Self { format, layout: Arc::new(layout), kind: kind.to_owned() }
    }

    /// The format.
    pub fn format(&self) -> ExchangeFormat {
        self.format
    }

    /// Rounds the gradient of a shard's partial.
    ///
    /// # Errors
    /// If a finite value becomes infinite.
    pub fn round(&self, shard: u32, partial: &mut Partial) -> Result<(), ComputeError> {
        self.format.round(&mut partial.gradient).map_err(|overflow| self.overflow(shard, overflow))
    }

    fn overflow(&self, shard: u32, Overflow { index }: Overflow) -> ComputeError {
        // A visit has the gradients of its path one after the other.
        let index = index % self.layout.parameters().max(1);
        let mut entries = self.layout.entries().iter();
        let entry =
            entries.find(|entry| entry.spec.kind == TensorKind::Parameter && entry.range.contains(&index));
        let Some(entry) = entry else {
            return ComputeError::Internal(format!("value {index} of a gradient belongs to no tensor"));
        };
        ComputeError::Rounding {
            kind: self.kind.clone(),
            shard,
            tensor: entry.spec.name.clone(),
            index: index - entry.range.start,
            format: self.format.as_str(),
        }
    }
}

#[cfg(test)]
mod tests;
