//! Tests of what a state must hold.

use super::*;
use crate::layout::{TensorKind, TensorSpec};

const SGD: BaseOptimizer = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 };

fn layout() -> Layout {
    let tensor = |name: &str, kind| TensorSpec { name: name.into(), shape: vec![2], kind };
    Layout::new([tensor("w", TensorKind::Parameter), tensor("m", TensorKind::RunningStatistic)])
        .expect("a valid layout")
}

fn state(base: &BaseOptimizer) -> OptimizerState {
    OptimizerState::initial(base, layout().lengths().map(FlatBuffer::zeros))
}

#[test]
fn each_base_optimizer_has_its_buffers() {
    let names = |base: &BaseOptimizer| state(base).buffers.into_keys().collect::<Vec<_>>();
    let plain = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let adamw = BaseOptimizer::AdamW { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.0 };
    assert!(names(&plain).is_empty());
    assert_eq!(names(&SGD), ["momentum"]);
    assert_eq!(names(&adamw), ["first_moment", "second_moment"]);
}

#[test]
fn a_whole_state_passes() {
    assert_eq!(state(&SGD).check(&SGD, &layout()), Ok(()));
}

#[test]
fn a_missing_buffer_is_named() {
    let state = OptimizerState { buffers: BTreeMap::new(), ..state(&SGD) };
    assert_eq!(state.check(&SGD, &layout()), Err(StateError::Missing { name: "momentum" }));
}

#[test]
fn a_buffer_of_another_optimizer_is_named() {
    let mut state = state(&SGD);
    state.buffers.insert("first_moment".into(), Arc::new(FlatBuffer::zeros(2)));
    assert_eq!(state.check(&SGD, &layout()), Err(StateError::Unknown { name: "first_moment".into() }));
}

#[test]
fn an_flat_buffer_of_the_wrong_length_is_named_with_both_lengths() {
    let refused = |name: &str, state: OptimizerState| {
        let error = StateError::Length { name: name.into(), found: 3, expected: 2 };
        assert_eq!(state.check(&SGD, &layout()), Err(error));
    };
    let long = || Arc::new(FlatBuffer::zeros(3));
    let weights = || state(&SGD).weights;
    let with = |weights| OptimizerState { weights, ..state(&SGD) };
    refused("parameters", with(ModelState { parameters: long(), ..weights() }));
    refused("running statistics", with(ModelState { statistics: long(), ..weights() }));
    refused("momentum", OptimizerState { buffers: [("momentum".into(), long())].into(), ..state(&SGD) });
}
