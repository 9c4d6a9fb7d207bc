//! Tests of frozen and excluded tensors, in whole outer steps of every method.

use super::super::tests::{ASAM, SEED, SGD, grouped, initial, layout, spec, trained_gradient};
use super::super::{Next, Optimizer};
use super::*;
use crate::flat_buffer::FlatBuffer;
use crate::job::{Alpha, InnerGradients, Method};

impl Trained {
    /// The trained elements of a gradient with a place for every parameter.
    pub(in crate::optimizer) fn of_all(&self, gradient: &[f32]) -> FlatBuffer {
        self.runs.iter().flat_map(|run| gradient[run.clone()].iter().copied()).collect::<Vec<_>>().into()
    }
}

fn lookbehind() -> OptimizerSpec {
    let method =
        Method::Lookbehind { ascent: ASAM, k: 3, alpha: Alpha::Adaptive, gradients: InnerGradients::Reuse };
    grouped(spec(method, SGD))
}

/// The elements of a tensor among all parameters.
fn elements(name: &str) -> Range<usize> {
    let layout = layout();
    let entry = layout.parameter_entries().find(|entry| entry.spec.name == name).unwrap();
    entry.range.clone()
}

#[test]
fn gradients_have_no_place_for_what_is_frozen() {
    let (spec, layout) = (lookbehind(), layout());
    let trained = Trained::new(&spec, &layout);
    let names: Vec<_> = trained.gradients.entries().iter().map(|entry| &*entry.spec.name).collect();
    assert_eq!(names, ["a.weight", "a.bias", "norm.weight", "c.bias"]);
    assert_eq!(trained.gradients.lengths().parameters, layout.parameters() - 70_001);
    assert_eq!(trained.gradients.lengths().statistics, 0);
    let all: Vec<f32> = (0..layout.parameters()).map(|index| index as f32).collect();
    let spread = trained.spread(&trained.of_all(&all)).into_owned();
    let frozen = elements("b.weight");
    for (index, &value) in spread.iter().enumerate() {
        assert_eq!(value, if frozen.contains(&index) { 0.0 } else { index as f32 });
    }
}

#[test]
fn frozen_tensors_keep_every_bit_and_excluded_ones_are_never_perturbed() {
    let (spec, layout) = (lookbehind(), layout());
    let mut start = initial(&layout);
    let (frozen, excluded) = (elements("b.weight"), elements("norm.weight"));
    start.parameters[frozen.start] = -0.0;
    let before = start.parameters.clone();
    let mut optimizer = Optimizer::new(&spec, SEED, layout, start).unwrap();
    for step in 0..3 {
        let slow = Arc::clone(optimizer.slow());
        optimizer.begin(1, 0.1);
        loop {
            let weights = optimizer.weights();
            assert_eq!(weights[excluded.clone()], slow[excluded.clone()], "at every gradient");
            let gradient = trained_gradient(&optimizer.trained, &weights, step);
            if let Next::Finished(_) = optimizer.absorb(gradient, &FlatBuffer::default()).unwrap() {
                break;
            }
        }
        let same = |range: &Range<usize>, other: &FlatBuffer| {
            let pairs = optimizer.slow()[range.clone()].iter().zip(&other[range.clone()]);
            pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits())
        };
        assert!(same(&frozen, &before), "step {step}");
        assert!(!same(&excluded, &slow) && !same(&elements("c.bias"), &slow), "step {step}: they descend");
    }
}

#[test]
fn groups_that_do_not_fit_the_layout_are_refused() {
    let mut spec = lookbehind();
    spec.groups.list[0].tensors = vec!["b.weigth".to_owned()];
    let error = Optimizer::new(&spec, SEED, layout(), initial(&layout())).unwrap_err().to_string();
    assert!(error.starts_with("optimizer.groups[0].tensors: \"b.weigth\" matches no parameter"), "{error}");
}
