//! Tests of single steps, on values that f32 holds exactly.

use super::super::tests::values;
use super::*;

#[test]
fn adamw_decays_the_weights_and_divides_the_first_moment_by_the_root_of_the_second() {
    let (mut weights, mut first, mut second) = ([2.0], [0.0], [0.0]);
    let step =
        AdamStep { step_size: 0.5, decay: 0.125, first: 0.5, second: 0.25, correction: 2.0, eps: 0.75 };
    adamw(&mut weights, &[2.0], &mut first, &mut second, step);
    assert_eq!((first, second), ([1.0], [1.0]));
    assert_eq!(weights, [2.0 - (0.125 * 2.0 + 0.5 * (1.0 / (1.0 / 2.0 + 0.75)))]);
}

#[test]
fn the_second_moment_never_becomes_negative() {
    for decay in [1.0, 0.5, 1e-3] {
        let step =
            AdamStep { step_size: 0.1, decay: 0.0, first: 0.1, second: decay, correction: 1.0, eps: 1e-8 };
        let (mut weights, mut first) = (vec![0.0; 1000], vec![0.0; 1000]);
        let mut second: Vec<f32> = values(1000, 7).iter().map(|x| x.abs() * 1e8).collect();
        let gradient: Vec<f32> = values(1000, 8).iter().map(|x| x * 1e-3).collect();
        adamw(&mut weights, &gradient, &mut first, &mut second, step);
        assert!(second.iter().all(|&v| v >= 0.0) && weights.iter().all(|w| w.is_finite()));
    }
}

#[test]
fn adam_adds_the_decay_to_the_gradient() {
    let (mut weights, mut first, mut second) = ([2.0], [0.0], [0.0]);
    let step = AdamStep { step_size: 0.5, decay: 0.5, first: 0.5, second: 0.25, correction: 2.0, eps: 0.5 };
    // g + λw = 3, so m = 1.5 and v = 2.25.
    adam(&mut weights, &[2.0], &mut first, &mut second, step);
    assert_eq!((first, second), ([1.5], [2.25]));
    assert_eq!(weights, [2.0 - 0.5 * (1.5 / (1.5 / 2.0 + 0.5))]);
}

#[test]
fn lion_steps_by_the_sign_of_momentum_and_gradient_and_then_updates_the_momentum() {
    let step = LionStep { lr: 0.5, decay: 0.125, step: 0.5, momentum: 0.25 };
    let (mut weights, mut momentum) = ([2.0, 2.0, 2.0], [-4.0, 4.0, -1.0]);
    // c = −1, 3 and 0.
    lion(&mut weights, &[2.0, 2.0, 1.0], &mut momentum, step);
    assert_eq!(weights, [2.0 - 0.25 + 0.5, 2.0 - 0.25 - 0.5, 2.0 - 0.25]);
    assert_eq!(momentum, [-4.0 + 0.25 * 6.0, 4.0 - 0.25 * 2.0, -1.0 + 0.25 * 2.0]);
}
