//! Tests of the base optimizers' factors and buffers.

use super::*;

const SGD: BaseOptimizer = BaseOptimizer::Sgd { lr: 9.0, momentum: 0.5, nesterov: false, weight_decay: 0.25 };
const ADAMW: BaseOptimizer =
    BaseOptimizer::AdamW { lr: 9.0, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.5 };
const ALIKE: TensorRule = TensorRule { lr_factor: 1.0, weight_decay: None, frozen: false, ascends: true };

fn base(optimizer: BaseOptimizer) -> Base {
    let buffers = buffer_names(&optimizer).iter().map(|_| Arc::new(FlatBuffer::zeros(1)));
    Base::new(optimizer, buffers, 0)
}

/// One step of a single weight.
fn step(base: &mut Base, weight: &mut f32, gradient: f32, lr: f64) {
    step_of(base, weight, gradient, lr, ALIKE);
}

/// One step of a single weight of a tensor that is trained in its own way.
fn step_of(base: &mut Base, weight: &mut f32, gradient: f32, lr: f64, kind: TensorRule) {
    let (rules, mut buffers) = base.begin_step(lr, &[kind], &mut Pool::default());
    let targets =
        buffers.each_mut().map(|buffer| buffer.as_mut().map_or(&mut [][..], |buffer| buffer.target().load()));
    rules[0].apply(std::slice::from_mut(weight), &[gradient], targets);
    base.end_step(buffers);
}

#[test]
fn momentum_persists_from_step_to_step() {
    let (mut base, mut weight) = (base(SGD), 4.0);
    step(&mut base, &mut weight, 1.0, 0.5);
    assert_eq!(weight, 4.0 - 0.5 * 2.0);
    step(&mut base, &mut weight, 1.0, 0.5);
    assert_eq!(weight, 3.0 - 0.5 * (0.5 * 2.0 + 1.75));
    assert_eq!(base.steps(), 2);
}

/// With equal gradients, the corrected moments are the gradient and its square at every step.
#[test]
fn bias_corrections_make_every_step_of_adamw_one_learning_rate_long() {
    let (mut base, mut weight) = (base(ADAMW), 1.0);
    for _ in 0..5 {
        let expected = weight - 0.125 * 0.5 * weight - 0.125;
        step(&mut base, &mut weight, 0.3, 0.125);
        assert!((weight - expected).abs() < 1e-6, "found {weight}, expected {expected}");
    }
}

#[test]
fn a_tensor_of_a_group_has_its_own_learning_rate_and_decay() {
    let kind = TensorRule { lr_factor: 0.5, weight_decay: Some(0.0), ..ALIKE };
    let (mut base, mut weight) = (base(SGD), 4.0);
    step_of(&mut base, &mut weight, 1.0, 0.5, kind);
    assert_eq!(weight, 4.0 - 0.25);
}

#[test]
fn buffers_have_their_names_in_order() {
    let names = |optimizer| base(optimizer).buffers().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(SGD), ["momentum"]);
    assert_eq!(names(ADAMW), ["first_moment", "second_moment"]);
    let adam = BaseOptimizer::Adam { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.0 };
    assert_eq!(names(adam), names(ADAMW));
    assert_eq!(
        names(BaseOptimizer::Lion { lr: 0.1, betas: [0.9, 0.99], weight_decay: 0.0 }),
        ["first_moment"]
    );
    let plain = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    assert!(names(plain).is_empty());
}
