//! Tests of the sequences of gradients.

use super::*;
use crate::job::{Ascent, DescentGradient, Perturbation};

const ASCENT: Ascent = Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global };
const HALF: Alpha = Alpha::Static(0.5);

/// One word per gradient: batch, weights, `a` for an ascent, `m` if it is averaged, `d` for a descent, `=` where the
/// weights stay.
fn show(method: &Method, batches: u32) -> String {
    let schedule = GradientSchedule::new(method, batches);
    let word = |index| {
        let gradient = schedule.gradient(index);
        let weights = if gradient.at == WeightSet::Fast { "f" } else { "p" };
        let uses = [
            (gradient.ascends, "a"),
            (gradient.averaged, "m"),
            (gradient.descends, "d"),
            (!schedule.weights_changed(index), "="),
        ];
        let uses: String = uses.iter().filter(|(used, _)| *used).map(|(_, letter)| *letter).collect();
        format!("{}{weights}{uses}", schedule.batch(index))
    };
    (0..schedule.len()).map(word).collect::<Vec<_>>().join(" ")
}

fn lookbehind(k: u32, gradients: InnerGradients) -> Method {
    Method::Lookbehind { ascent: ASCENT, k, alpha: HALF, gradients }
}

fn multistep(k: u32, minibatch: Minibatch, descent: DescentGradient) -> Method {
    Method::MultistepSam { ascent: ASCENT, k, minibatch, descent }
}

#[test]
fn sgd_descends_once() {
    assert_eq!(show(&Method::Sgd, 1), "0fd");
}

#[test]
fn sam_ascends_once_and_descends_once() {
    assert_eq!(show(&Method::Sam { ascent: ASCENT }, 1), "0fa 0pd");
}

#[test]
fn lookahead_descends_with_each_batch() {
    assert_eq!(show(&Method::Lookahead { k: 3, alpha: HALF }, 3), "0fd 1fd 2fd");
}

#[test]
fn lookahead_sam_ascends_from_the_fast_weights_with_each_batch() {
    let method = Method::LookaheadSam { ascent: ASCENT, k: 2, alpha: HALF };
    assert_eq!(show(&method, 2), "0fa 0pd 1fa 1pd");
}

#[test]
fn multistep_sam_descends_only_at_the_last_point() {
    assert_eq!(show(&multistep(3, Minibatch::Same, DescentGradient::Last), 1), "0pa 0pa 0pa 0pd");
    assert_eq!(show(&multistep(3, Minibatch::Switch, DescentGradient::Last), 3), "0pa 1pa 2pa 2pd");
}

#[test]
fn multistep_sam_averages_the_gradients_at_perturbed_weights() {
    let mean = multistep(3, Minibatch::Same, DescentGradient::Mean);
    assert_eq!(show(&mean, 1), "0pa 0pam 0pam 0pd");
    assert_eq!(visited(&mean), (4, 3));
    assert_eq!(show(&multistep(1, Minibatch::Same, DescentGradient::Mean), 1), "0pa 0pd");
}

#[test]
fn random_weight_perturbation_descends_at_perturbed_weights() {
    assert_eq!(show(&Method::Rwp { rho: 0.5 }, 1), "0pd");
}

#[test]
fn lookbehind_uses_each_inner_gradient_twice() {
    assert_eq!(show(&lookbehind(1, InnerGradients::Reuse), 1), "0pa 0pd");
    assert_eq!(show(&lookbehind(3, InnerGradients::Reuse), 1), "0pa 0pad 0pad 0pd");
}

#[test]
fn lookbehind_reference_computes_inner_gradients_again_at_the_same_weights() {
    let same = lookbehind(3, InnerGradients::Reference(Minibatch::Same));
    assert_eq!(show(&same, 1), "0pa 0pd 0pa= 0pd 0pa= 0pd");
    let switch = lookbehind(3, InnerGradients::Reference(Minibatch::Switch));
    assert_eq!(show(&switch, 3), "0pa 0pd 1pa= 1pd 2pa= 2pd");
}

#[test]
fn an_outer_step_with_fewer_batches_has_fewer_inner_steps() {
    assert_eq!(show(&Method::Lookahead { k: 3, alpha: HALF }, 2), "0fd 1fd");
    assert_eq!(show(&Method::LookaheadSam { ascent: ASCENT, k: 3, alpha: HALF }, 1), "0fa 0pd");
    let switch = lookbehind(3, InnerGradients::Reference(Minibatch::Switch));
    assert_eq!(show(&switch, 2), "0pa 0pd 1pa= 1pd");
    let multistep = multistep(3, Minibatch::Switch, DescentGradient::Last);
    assert_eq!(show(&multistep, 1), "0pa 0pd");
}

#[test]
fn more_batches_than_inner_steps_are_not_used() {
    assert_eq!(show(&Method::Lookahead { k: 2, alpha: HALF }, 9), "0fd 1fd");
}

#[test]
fn methods_of_one_batch_ignore_how_many_there_are() {
    for batches in [1, 5] {
        assert_eq!(show(&lookbehind(2, InnerGradients::Reuse), batches), "0pa 0pad 0pd");
    }
}

/// Every method with k inner steps, and with each way to compute its gradients.
fn every_method(k: u32) -> Vec<Method> {
    let mut methods = vec![
        Method::Sgd,
        Method::Sam { ascent: ASCENT },
        Method::Lookahead { k, alpha: HALF },
        Method::LookaheadSam { ascent: ASCENT, k, alpha: HALF },
        lookbehind(k, InnerGradients::Reuse),
        multistep(k, Minibatch::Same, DescentGradient::Mean),
        Method::Rwp { rho: 0.5 },
    ];
    for minibatch in [Minibatch::Same, Minibatch::Switch] {
        methods.push(multistep(k, minibatch, DescentGradient::Last));
        methods.push(lookbehind(k, InnerGradients::Reference(minibatch)));
    }
    methods
}

#[test]
fn the_last_gradient_of_every_method_descends_and_only_the_last_is_last() {
    for method in [1, 2, 4].into_iter().flat_map(every_method) {
        for batches in 1..=4 {
            let schedule = GradientSchedule::new(&method, batches);
            let end = schedule.len() - 1;
            let last = schedule.gradient(end);
            assert!((0..end).all(|index| !schedule.is_last(index)), "{method:?}");
            assert!(schedule.is_last(end) && last.descends && !last.ascends, "{method:?}");
        }
    }
}

#[test]
fn a_sequence_that_does_not_end_with_a_descent_alone_is_refused() {
    let (ascent, descent) = (GradientUse::at_fast(0).ascends(), GradientUse::at_fast(0).descends());
    assert!(ends_with_a_descent(&[ascent, descent]));
    assert!(!ends_with_a_descent(&[descent, ascent]));
    assert!(!ends_with_a_descent(&[descent, ascent.descends()]));
    assert!(!ends_with_a_descent(&[descent, GradientUse::at_perturbed(0)]));
    assert!(!ends_with_a_descent(&[]));
}

#[test]
fn a_factor_of_one_is_no_interpolation() {
    let schedule = GradientSchedule::new(&Method::Lookahead { k: 2, alpha: Alpha::Static(1.0) }, 2);
    assert_eq!(schedule.interpolation, None);
}

#[test]
fn the_gradients_of_a_full_outer_step_are_counted_as_the_method_defines_them() {
    let minibatch = Minibatch::Same;
    for (method, gradients) in [
        (Method::Sgd, 1),
        (Method::Sam { ascent: ASCENT }, 2),
        (Method::Lookahead { k: 5, alpha: HALF }, 5),
        (Method::LookaheadSam { ascent: ASCENT, k: 5, alpha: HALF }, 10),
        (multistep(5, minibatch, DescentGradient::Last), 6),
        (multistep(5, minibatch, DescentGradient::Mean), 6),
        (Method::Rwp { rho: 0.5 }, 1),
        (lookbehind(5, InnerGradients::Reuse), 6),
        (lookbehind(5, InnerGradients::Reference(minibatch)), 10),
    ] {
        assert_eq!(gradients_per_outer_step(&method), gradients, "{method:?}");
    }
}

#[test]
#[should_panic(expected = "an outer step has an inner step and a batch")]
fn an_outer_step_without_a_batch_is_no_outer_step() {
    GradientSchedule::new(&Method::Lookahead { k: 2, alpha: HALF }, 0);
}
