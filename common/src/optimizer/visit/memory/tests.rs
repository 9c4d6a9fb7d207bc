use super::super::super::tests::SAM;
use super::*;
use crate::job::{Alpha, Ascent, InnerGradients, Method, Perturbation};

const MODEL: ModelState<usize> = ModelState { parameters: 1000, statistics: 10 };
const ASCENT: Ascent = Ascent { perturbation: Perturbation::Shard, ..SAM };

fn lookbehind(k: u32) -> Visit {
    let (alpha, gradients) = (Alpha::Static(0.5), InnerGradients::Reuse);
    Visit::of(&Method::Lookbehind { ascent: ASCENT, k, alpha, gradients }).expect("visits")
}

#[test]
fn one_after_the_other_takes_all_gradients_of_each_partial_that_waits() {
    let bytes = |k, shards| lookbehind(k).bytes(ClimbOrder::OneAfterAnother, MODEL, MODEL, shards);
    assert_eq!(bytes(2, 1), 4 * (2000 + 30 + 2010));
    assert_eq!(bytes(5, 1), 4 * (5000 + 60 + 2010));
    assert_eq!(bytes(5, 8), 4 * (4 * (5000 + 60) + 2010));
    assert_eq!(bytes(5, 9), bytes(5, 8));
}

#[test]
fn in_step_takes_the_weights_of_each_shard_and_one_gradient_of_each_partial_that_waits() {
    let bytes = |k, shards| lookbehind(k).bytes(ClimbOrder::InStep, MODEL, MODEL, shards);
    assert_eq!(bytes(2, 1), 4 * (1010 + 1000 + 2000 + 30));
    assert_eq!(bytes(5, 8), 4 * (1010 + 8000 + 3 * 1010 + 5000 + 60));
    assert_eq!(bytes(5, 9), bytes(5, 8) + 4 * 1000);
}

#[test]
fn the_order_is_the_one_that_takes_less() {
    let order = |k, shards| lookbehind(k).order(MODEL, MODEL, shards);
    assert_eq!(order(5, 1), ClimbOrder::OneAfterAnother, "both take the same");
    assert_eq!(order(1, 8), ClimbOrder::OneAfterAnother);
    assert_eq!(order(5, 2), ClimbOrder::InStep);
    assert_eq!(order(5, 8), ClimbOrder::InStep);
    assert_eq!(
        order(5, 64),
        ClimbOrder::OneAfterAnother,
        "64 copies of the weights are more than 35 gradients"
    );
    let sam = Visit::of(&Method::Sam { ascent: ASCENT }).expect("visits");
    assert_eq!(sam.order(MODEL, MODEL, 4), ClimbOrder::OneAfterAnother);
}

#[test]
fn gradients_of_frozen_tensors_take_nothing() {
    let trained = ModelState { parameters: 100, statistics: 0 };
    let bytes = |order| lookbehind(5).bytes(order, MODEL, trained, 8);
    assert_eq!(bytes(ClimbOrder::OneAfterAnother), 4 * (4 * 500 + 2010));
    assert_eq!(bytes(ClimbOrder::InStep), 4 * (1010 + 8000 + 3 * 100 + 500));
}
