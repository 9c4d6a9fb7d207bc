//! Tests of which gradients count for running statistics.

use super::super::methods::GradientSchedule;
use super::*;
use crate::job::{Alpha, Ascent, DescentGradient, InnerGradients, Method, Minibatch, Perturbation};

const ASCENT: Ascent = Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global };
const ALPHA: Alpha = Alpha::Static(0.5);

/// How often each gradient of an outer step is counted: the logarithm of what is left of the first average.
fn counts(method: Method, counted: BatchStatistics) -> Vec<u32> {
    let schedule = GradientSchedule::new(&method, 9);
    let times = |index| {
        let mut running = RunningStatistics { values: Arc::new(vec![1.0].into()), counted };
        running.absorb(index, schedule.gradient(index), &[0.0]);
        (running.values[0].log(0.9)).round() as u32
    };
    (0..schedule.len()).map(times).collect()
}

fn lookbehind(gradients: InnerGradients) -> Method {
    Method::Lookbehind { ascent: ASCENT, k: 3, alpha: ALPHA, gradients }
}

#[test]
fn reused_gradients_count_as_often_as_the_reference_would_pass_them() {
    assert_eq!(counts(lookbehind(InnerGradients::Reuse), BatchStatistics::EveryPass), [1, 2, 2, 1]);
    let reference = lookbehind(InnerGradients::Reference(Minibatch::Same));
    assert_eq!(counts(reference, BatchStatistics::EveryPass), [1; 6]);
}

#[test]
fn every_gradient_of_the_other_methods_counts_once() {
    let every = BatchStatistics::EveryPass;
    assert_eq!(counts(Method::Sgd, every), [1]);
    assert_eq!(counts(Method::Sam { ascent: ASCENT }, every), [1, 1]);
    assert_eq!(counts(Method::Lookahead { k: 2, alpha: ALPHA }, every), [1, 1]);
    assert_eq!(counts(Method::LookaheadSam { ascent: ASCENT, k: 2, alpha: ALPHA }, every), [1; 4]);
    let multistep = Method::MultistepSam {
        ascent: ASCENT,
        k: 2,
        minibatch: Minibatch::Same,
        descent: DescentGradient::Last,
    };
    assert_eq!(counts(multistep, every), [1, 1, 1]);
}

#[test]
fn unperturbed_counts_only_gradients_before_an_ascent() {
    let unperturbed = BatchStatistics::Unperturbed;
    assert_eq!(counts(lookbehind(InnerGradients::Reuse), unperturbed), [1, 0, 0, 0]);
    for minibatch in [Minibatch::Same, Minibatch::Switch] {
        let reference = lookbehind(InnerGradients::Reference(minibatch));
        assert_eq!(counts(reference, unperturbed), [1, 0, 0, 0, 0, 0]);
        let multistep =
            Method::MultistepSam { ascent: ASCENT, k: 2, minibatch, descent: DescentGradient::Last };
        assert_eq!(counts(multistep, unperturbed), [1, 0, 0]);
    }
    assert_eq!(counts(Method::Sam { ascent: ASCENT }, unperturbed), [1, 0]);
    assert_eq!(counts(Method::Lookahead { k: 2, alpha: ALPHA }, unperturbed), [1, 1]);
    assert_eq!(
        counts(Method::LookaheadSam { ascent: ASCENT, k: 2, alpha: ALPHA }, unperturbed),
        [1, 0, 1, 0]
    );
}

#[test]
fn readers_keep_the_averages_that_they_have() {
    let mut running =
        RunningStatistics { values: Arc::new(vec![1.0].into()), counted: BatchStatistics::EveryPass };
    let reader = Arc::clone(&running.values);
    running.absorb(0, GradientSchedule::new(&Method::Sgd, 1).gradient(0), &[2.0]);
    assert_eq!((reader[0], running.values[0]), (1.0, 0.9 + 0.1 * 2.0));
}
