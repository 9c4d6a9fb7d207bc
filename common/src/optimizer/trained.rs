//! Which tensors have gradients. Those of frozen tensors are neither computed nor sent, and batch statistics are not if
//! they are frozen: partials have the layout of the gradients, not that of the model.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::job::{BatchStatistics, OptimizerSpec};
use crate::layout::{Layout, TensorKind};

/// The layout of the gradients and batch statistics of a job: the parameters that are not frozen, and the running
/// statistics if they are updated, in the order of the model's layout.
pub fn gradient_layout(spec: &OptimizerSpec, layout: &Layout) -> Layout {
    layout.of_tensors(|tensor| match tensor.kind {
        TensorKind::Parameter => !spec.groups.rule(tensor).frozen,
        TensorKind::RunningStatistic => spec.batch_statistics != BatchStatistics::Frozen,
    })
}

/// The trained parameters among all of them.
#[derive(Clone, Debug)]
pub(super) struct Trained {
    /// Layout of the gradients.
    pub(super) gradients: Arc<Layout>,
    /// Runs of elements that are trained, within all parameters; one if all are.
    runs: Vec<Range<usize>>,
    /// Elements of all parameters.
    parameters: usize,
}

impl Trained {
    pub(super) fn new(spec: &OptimizerSpec, layout: &Layout) -> Self {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for entry in layout.parameter_entries().filter(|entry| !spec.groups.rule(&entry.spec).frozen) {
            match runs.last_mut() {
                Some(last) if last.end == entry.range.start => last.end = entry.range.end,
                _ => runs.push(entry.range.clone()),
            }
        }
        let gradients = Arc::new(gradient_layout(spec, layout));
        Self { gradients, runs, parameters: layout.parameters() }
    }

    /// A gradient with a place for every parameter: zeros for frozen ones.
    pub(super) fn spread<'a>(&self, gradient: &'a [f32]) -> Cow<'a, [f32]> {
        if gradient.len() == self.parameters {
            return Cow::Borrowed(gradient);
        }
        let (mut spread, mut rest) = (vec![0.0; self.parameters], gradient);
        for run in &self.runs {
            let (values, after) = rest.split_at(run.len());
            spread[run.clone()].copy_from_slice(values);
            rest = after;
        }
        Cow::Owned(spread)
    }
}

#[cfg(test)]
mod tests;
