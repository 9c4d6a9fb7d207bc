//! Tests of outer steps whose shards climb by themselves.

use std::sync::Arc;

use super::super::tests::{
    ADAMW, ASAM, SAM, SEED, SGD, batch_statistics, grouped, initial, layout, spec, trained_gradient,
};
use super::super::trained::Trained;
use super::super::{Climb, OptimizerState, VisitPartial, gradients_per_outer_step, requests_per_outer_step};
use super::*;
use crate::exchange_format::ExchangeFormat;
use crate::flat_buffer::FlatBuffer;
use crate::job::{Alpha, Ascent, DescentGradient, InnerGradients, Minibatch, OptimizerSpec};
use crate::partial::{Sums, VisitSums};
use crate::reduction;

const REFERENCE: InnerGradients = InnerGradients::Reference(Minibatch::Same);

fn per_shard(ascent: Ascent) -> Ascent {
    Ascent { perturbation: Perturbation::Shard, ..ascent }
}

fn lookbehind(ascent: Ascent, k: u32, alpha: Alpha, gradients: InnerGradients) -> Method {
    Method::Lookbehind { ascent, k, alpha, gradients }
}

/// Every method with ascents that can follow single shards.
fn methods(ascent: Ascent) -> Vec<Method> {
    let mut methods = vec![Method::Sam { ascent }];
    for descent in [DescentGradient::Last, DescentGradient::Mean] {
        methods.push(Method::MultistepSam { ascent, k: 3, minibatch: Minibatch::Same, descent });
    }
    for alpha in [Alpha::Static(0.5), Alpha::Adaptive] {
        methods.push(Method::LookaheadSam { ascent, k: 3, alpha });
        methods.extend([InnerGradients::Reuse, REFERENCE].map(|of| lookbehind(ascent, 3, alpha, of)));
    }
    methods
}

/// A shard of a batch: a gradient of its own at every point.
fn shard(weights: &[f32], batch: u64, shard: u64, trained: &Trained) -> Partial {
    let sums = Sums { loss: 1.0 / (3 + shard) as f64, correct: 1, samples: 2, visits: None };
    let gradient = trained_gradient(trained, weights, 7 * batch + shard);
    Partial { gradient, statistics: batch_statistics(weights, &trained.gradients), sums }
}

/// Everything is trained.
fn all_trained(layout: &Layout) -> Trained {
    Trained::new(&spec(Method::Sgd, SGD), layout)
}

fn optimizer(spec: &OptimizerSpec) -> Optimizer {
    let layout = layout();
    let initial = initial(&layout);
    Optimizer::new(spec, SEED, layout, initial).expect("flat buffers that fit")
}

fn added(left: Partial, right: &Partial) -> Partial {
    reduction::add(left, right, ExchangeFormat::F32)
}

/// The state after three outer steps of batches of `shards` shards.
fn trained(spec: &OptimizerSpec, shards: u64) -> OptimizerState {
    let mut optimizer = optimizer(spec);
    let (layout, of_spec) = (Arc::clone(&optimizer.layout), optimizer.trained.clone());
    for step in 0..3 {
        let mut request = optimizer.begin(3, 0.1);
        loop {
            let (weights, batch) = (optimizer.weights(), 3 * step + u64::from(request.batch));
            let visited = |number| match Visit::of(&spec.method) {
                None => shard(&weights, batch, number, &of_spec),
                Some(_) => climbed(spec, &layout, &weights, |at| shard(at, batch, number, &of_spec)),
            };
            let sum = (1..shards).fold(visited(0), |sum, number| added(sum, &visited(number)));
            drop(weights);
            let next = match spec.method.parts().ascent.map(|ascent| ascent.perturbation) {
                Some(Perturbation::Shard) => optimizer.absorb_visits(&sum),
                _ => optimizer.absorb(sum.gradient, &sum.statistics),
            };
            match next.expect("finite values") {
                Next::Gradient(next) => request = next,
                Next::Finished(_) => break,
            }
        }
    }
    optimizer.state()
}

fn climbed(spec: &OptimizerSpec, layout: &Layout, start: &[f32], at: impl Fn(&[f32]) -> Partial) -> Partial {
    let visit = Visit::of(&spec.method).expect("visits");
    let mut climb = Climb::new(visit, spec, layout, start).expect("weights of the layout");
    let mut sent = VisitPartial::new(visit, spec, layout);
    loop {
        let mut found = at(climb.weights());
        climb.absorb(&mut found).expect("finite values");
        if let Some(partial) = sent.absorb(&found).expect("the layout's lengths") {
            return partial;
        }
    }
}

#[test]
fn the_only_shard_of_a_batch_climbs_to_the_bytes_of_the_global_perturbation() {
    for ascent in [SAM, ASAM] {
        for (global, of_shard) in methods(ascent).into_iter().zip(methods(per_shard(ascent))) {
            for base in [SGD, ADAMW] {
                let specs = [global, of_shard].map(|method| spec(method, base));
                let [global, of_shard] = specs.clone().map(|spec| trained(&spec, 1));
                assert!(global == of_shard, "{ascent:?} {base:?}");
                let [global, of_shard] = specs.map(|spec| trained(&grouped(spec), 1));
                assert!(global == of_shard, "groups, {ascent:?} {base:?}");
            }
        }
    }
}

#[test]
fn several_shards_each_climb_by_themselves() {
    let of =
        |ascent| trained(&spec(lookbehind(ascent, 3, Alpha::Static(0.5), InnerGradients::Reuse), SGD), 3);
    assert!(of(SAM) != of(per_shard(SAM)));
}

#[test]
fn the_reference_gradients_of_single_shards_are_those_that_are_reused() {
    let of = |gradients| trained(&spec(lookbehind(per_shard(ASAM), 3, Alpha::Adaptive, gradients), ADAMW), 3);
    assert!(of(InnerGradients::Reuse) == of(REFERENCE));
}

#[test]
fn visits_send_what_descends_and_the_statistics_of_all_gradients() {
    let ascent = per_shard(SAM);
    let layout = layout();
    let lengths = |method| {
        let ModelState { parameters, statistics } = partial_lengths(&spec(method, SGD), &layout);
        assert_eq!((parameters % layout.parameters(), statistics % layout.statistics()), (0, 0));
        let sent = (parameters / layout.parameters(), statistics / layout.statistics());
        (sent, gradients_per_outer_step(&method), requests_per_outer_step(&method))
    };
    let alpha = Alpha::Static(0.5);
    assert_eq!(lengths(Method::Sam { ascent: SAM }), ((1, 1), 2, 2));
    assert_eq!(lengths(Method::Sam { ascent }), ((1, 2), 2, 1));
    let multistep =
        Method::MultistepSam { ascent, k: 5, minibatch: Minibatch::Same, descent: DescentGradient::Last };
    assert_eq!(lengths(multistep), ((1, 6), 6, 1));
    assert_eq!(lengths(Method::LookaheadSam { ascent, k: 5, alpha }), ((1, 2), 10, 5));
    for gradients in [InnerGradients::Reuse, REFERENCE] {
        assert_eq!(lengths(lookbehind(ascent, 5, alpha, gradients)), ((5, 6), 6, 1));
    }
}

#[test]
fn a_visit_reports_the_first_loss_and_norm_and_the_last_loss() {
    let (layout, spec) = (layout(), spec(Method::Sam { ascent: per_shard(SAM) }, SGD));
    let (start, all) = (initial(&layout).parameters, all_trained(&layout));
    let first = shard(&start, 0, 0, &all);
    let norm = first.gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    let losses = std::cell::Cell::new(0.5);
    let partial = climbed(&spec, &layout, &start, |at| {
        losses.set(2.0 * losses.get());
        let sums = Sums { loss: losses.get(), correct: 1, samples: 2, visits: None };
        Partial { sums, ..shard(at, 0, 0, &all) }
    });
    let VisitSums { last_loss, gradient_norm } = partial.sums.visits.expect("sums of visits");
    assert_eq!((partial.sums.loss, last_loss), (1.0, 2.0));
    assert_eq!((partial.sums.mean_loss(), partial.sums.last_mean_loss()), (0.5, 1.0));
    assert!((gradient_norm - norm).abs() < 1e-9 * norm);
    let sum = added(partial.clone(), &partial).sums;
    assert_eq!(sum.visits, Some(VisitSums { last_loss: 4.0, gradient_norm: 2.0 * gradient_norm }));
}

#[test]
fn a_value_that_is_not_finite_is_found_on_the_path_and_in_the_sum() {
    let (layout, spec) = (layout(), spec(Method::Sam { ascent: per_shard(SAM) }, SGD));
    let (start, all) = (initial(&layout).parameters, all_trained(&layout));
    let visit = Visit::of(&spec.method).expect("visits");
    let mut climb = Climb::new(visit, &spec, &layout, &start).expect("weights of the layout");
    climb.absorb(&mut shard(&start, 0, 0, &all)).expect("a finite gradient");
    let mut found = shard(climb.weights(), 0, 0, &all);
    found.gradient[45_002] = f32::NAN;
    let error = climb.absorb(&mut found).expect_err("not a number");
    assert_eq!(
        error.to_string(),
        "gradient 1: gradient of tensor \"a.bias\" is NaN at index 2, expected a finite number"
    );
    let mut optimizer = optimizer(&spec);
    let before = optimizer.state();
    optimizer.begin(1, 0.1);
    let mut sum = climbed(&spec, &layout, &start, |at| shard(at, 0, 0, &all));
    sum.statistics[40] = f32::INFINITY;
    let error = optimizer.absorb_visits(&sum).expect_err("an infinite number").to_string();
    assert!(
        error.starts_with("gradient 1: batch statistics of tensor \"norm.running_mean\" is inf"),
        "{error}"
    );
    optimizer.step = None;
    assert!(optimizer.state() == before);
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let layout = layout();
    let (start, all) = (initial(&layout).parameters, all_trained(&layout));
    let spec = spec(Method::Sam { ascent: per_shard(SAM) }, SGD);
    let whole = climbed(&spec, &layout, &start, |at| shard(at, 0, 0, &all));
    let mut optimizer = optimizer(&spec);
    assert_eq!(optimizer.absorb_visits(&whole), Err(AbsorbError::NotAskedFor), "nothing was begun");
    optimizer.begin(1, 0.1);
    let single = shard(&start, 0, 0, &all);
    assert_eq!(optimizer.absorb_visits(&single), Err(AbsorbError::NotAskedFor), "no sums of visits");
    let gradient = optimizer.absorb(single.gradient, &single.statistics);
    assert_eq!(gradient, Err(AbsorbError::NotAskedFor), "a single gradient");
    let short = Partial { statistics: FlatBuffer::zeros(34), ..whole.clone() };
    let error = optimizer.absorb_visits(&short).expect_err("statistics of one gradient");
    assert!(matches!(error, AbsorbError::Length { found: 34, expected: 68, .. }), "{error}");
    assert!(matches!(optimizer.absorb_visits(&whole), Ok(Next::Finished(_))));
    let visit = Visit::of(&spec.method).expect("visits");
    let other = Climb::new(visit, &spec, &layout, &start[1..]);
    assert!(matches!(other, Err(AbsorbError::Length { what: "weights", .. })));
    let mut sent = VisitPartial::new(visit, &spec, &layout);
    assert_eq!(
        sent.absorb(&shard(&start, 0, 0, &all_trained(&layout))),
        Err(AbsorbError::NotAskedFor),
        "no sums of visits"
    );
}

/// Three shards that climb in step, added gradient by gradient.
fn climbed_in_step(spec: &OptimizerSpec, layout: &Layout, start: &[f32]) -> Partial {
    let (visit, trained) = (Visit::of(&spec.method).expect("visits"), Trained::new(spec, layout));
    let climb = |_| Climb::new(visit, spec, layout, start).expect("weights of the layout");
    let mut climbs: Vec<Climb> = (0..3).map(climb).collect();
    let mut sent = VisitPartial::new(visit, spec, layout);
    loop {
        let mut found = climbs.iter_mut().zip(0..).map(|(climb, number)| {
            let mut found = shard(climb.weights(), 0, number, &trained);
            climb.absorb(&mut found).expect("finite values");
            found
        });
        let first = found.next().expect("three shards");
        let sum = found.fold(first, |sum, found| added(sum, &found));
        if let Some(partial) = sent.absorb(&sum).expect("the layout's lengths") {
            return partial;
        }
    }
}

#[test]
fn shards_that_climb_in_step_come_to_the_sum_of_those_that_climb_one_after_the_other() {
    let (layout, start) = (layout(), initial(&layout()).parameters);
    for method in [SAM, ASAM].into_iter().flat_map(|ascent| methods(per_shard(ascent))) {
        for spec in [spec(method, SGD), grouped(spec(method, SGD))] {
            let trained = Trained::new(&spec, &layout);
            let visited = |number| climbed(&spec, &layout, &start, |at| shard(at, 0, number, &trained));
            let expected = added(added(visited(0), &visited(1)), &visited(2));
            assert!(climbed_in_step(&spec, &layout, &start) == expected, "{method:?}");
        }
    }
}
