//! Visits on the CPU: what a worker computes where shards climb by themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{
    Alpha, Ascent, ExchangeFormat, InnerGradients, Method, OptimizerSpec, Perturbation,
};
use lookbehind_common::reduction::reduce;
use tempfile::TempDir;

use super::*;
use crate::compute::fixture::*;
use crate::compute::{Backend, CandleBackend, PrepareError, compute_unwatched};
use crate::data::{Cancellation, DataEnvironment};
use crate::registry::Registry;
use crate::test_support::{data_folder, job};

const TRAIN: &str = "epochs = 1\nbatch_size = 11\nshards = 4";

/// Everything that is sent of a partial, to the bit.
fn bits(partial: &Partial) -> (Digest, Digest, u64, u64) {
    let sums = &partial.sums;
    let digests = [&partial.gradient, &partial.statistics].map(|values| Digest::of(values.as_bytes()));
    (digests[0], digests[1], sums.loss.to_bits(), sums.correct)
}

fn method(k: u32) -> Method {
    let ascent = Ascent { rho: 0.5, eta: Some(0.01), perturbation: Perturbation::Shard };
    Method::Lookbehind { ascent, k, alpha: Alpha::Static(0.5), gradients: InnerGradients::Reuse }
}

/// A job with k inner steps, whose shards climb by themselves; it holds its initial weights.
fn climbing(
    model: &str,
    k: u32,
    order: ClimbOrder,
) -> (TempDir, Box<dyn PreparedJob>, ModelState<FlatBuffer>) {
    changed(model, order, |spec| spec.optimizer.method = method(k))
}

/// A job after a change of its specification, whose shards climb in this order; it holds its initial weights.
fn changed(
    model: &str,
    order: ClimbOrder,
    change: impl FnOnce(&mut JobSpec),
) -> (TempDir, Box<dyn PreparedJob>, ModelState<FlatBuffer>) {
    let (folder, backend) = backend();
    let mut spec = job(model, &format!("{FILES}\nshuffle = false"), TRAIN);
    change(&mut spec);
    let mut job = backend.with_climb_order(order).prepare(&spec, &Cancellation::default()).unwrap();
    let initial = job.initial_state().unwrap();
    job.load(initial.values()).unwrap();
    (folder, job, initial)
}

#[test]
fn a_visit_is_made_of_the_gradients_at_the_shards_own_perturbed_weights() {
    let cases = [MLP, "kind = \"centred\"", "kind = \"dropout\""];
    for (model, order) in cases.into_iter().flat_map(|model| ClimbOrder::ALL.map(|order| (model, order))) {
        let (_folder, mut climbing, initial) = climbing(model, 3, order);
        let (_other, mut single, _) = loaded(model, TRAIN);
        for number in [2, 0] {
            let found = shard(climbing.as_mut(), &gradient(1, 4), number).unwrap();
            let layout = single.description().layout.clone();
            let optimizer = OptimizerSpec { method: method(3), ..job(model, FILES, TRAIN).optimizer };
            let visit = Visit::of(&optimizer.method).unwrap();
            let mut climb = Climb::new(visit, &optimizer, &layout, &initial.parameters).unwrap();
            let mut sent = VisitPartial::new(visit, &optimizer, &layout);
            let expected = loop {
                let weights = ModelState { parameters: climb.weights(), statistics: &initial.statistics[..] };
                single.load(weights).unwrap();
                let mut at = shard(single.as_mut(), &gradient(1, 4), number).unwrap();
                climb.absorb(&mut at).unwrap();
                if let Some(partial) = sent.absorb(&at).unwrap() {
                    break partial;
                }
            };
            assert_eq!(bits(&found), bits(&expected), "{model}, shard {number}, {order:?}");
            assert_eq!(found.sums, expected.sums);
        }
    }
}

#[test]
fn a_segment_is_the_sum_of_the_visits_of_its_shards_in_either_order() {
    for exchange in [ExchangeFormat::F32, ExchangeFormat::Bf16] {
        for (model, shards) in
            [(MLP, 1), (MLP, 2), (MLP, 5), ("kind = \"centred\"", 5), ("kind = \"dropout\"", 5)]
        {
            let request = gradient(0, shards);
            let mut found = ClimbOrder::ALL.map(|order| {
                changed(model, order, |spec| {
                    (spec.train.exchange, spec.train.shards) = (exchange, shards);
                    spec.optimizer.method = method(3);
                })
            });
            let mut alone = |shard: u32| {
                compute_unwatched(found[0].1.as_mut(), &request, Segment { first: shard, end: shard + 1 })
            };
            let visits: Vec<Partial> = (0..shards).map(|shard| alone(shard).unwrap()).collect();
            let expected = reduce::<Stopped>(Segment::root(shards), exchange, &mut |part: Segment| {
                Ok((part.len() == 1).then(|| visits[part.first as usize].clone()))
            });
            let expected = expected.unwrap();
            for (_folder, job, _) in &mut found {
                let sum = compute_unwatched(job.as_mut(), &request, Segment::root(shards)).unwrap();
                assert_eq!(bits(&sum), bits(&expected), "{model}, {shards} shards, {exchange:?}");
                assert_eq!(sum.sums, expected.sums);
            }
        }
    }
}

#[test]
fn tests_are_at_the_weights_at_which_visits_begin() {
    for order in ClimbOrder::ALL {
        let (_folder, mut job, _) = climbing("kind = \"centred\"", 2, order);
        let before = bits(&shard(job.as_mut(), &test_request(2), 1).unwrap());
        compute_unwatched(job.as_mut(), &gradient(0, 4), Segment::root(4)).unwrap();
        assert_eq!(bits(&shard(job.as_mut(), &test_request(2), 1).unwrap()), before, "{order:?}");
    }
}

#[test]
fn visits_that_are_superseded_end_early_and_change_nothing() {
    for order in ClimbOrder::ALL {
        let (_folder, mut job, _) = climbing(MLP, 2, order);
        let request = gradient(0, 4);
        let watched = |job: &mut dyn PreparedJob, times: usize| {
            let patient = Arc::new(Patient { times, asked: AtomicUsize::new(0) });
            let watch: Arc<dyn Watch> = Arc::clone(&patient) as _;
            let computed = job.segment(&request, Segment { first: 0, end: 2 }, &watch);
            (computed, patient.asked.load(Ordering::Relaxed))
        };
        let (whole, asked) = watched(job.as_mut(), usize::MAX);
        let whole = bits(&whole.unwrap());
        assert!(asked > 24, "asked within each of the three gradients of both shards; found {asked}");
        for times in 1..asked {
            let (computed, _) = watched(job.as_mut(), times);
            assert!(matches!(computed, Err(Stopped::Superseded)), "{times}: {computed:?}");
            let again = watched(job.as_mut(), usize::MAX).0.unwrap();
            assert_eq!(
                bits(&again),
                whole,
                "after visits that were superseded when asked for the {times}th time"
            );
        }
    }
}

#[test]
fn progress_is_told_after_every_gradient_of_a_visit() {
    struct Counting(AtomicUsize);
    impl Watch for Counting {
        fn advance(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn is_superseded(&self) -> bool {
            false
        }
    }
    for order in ClimbOrder::ALL {
        let (_folder, mut job, _) = climbing(MLP, 3, order);
        let counting = Arc::new(Counting(AtomicUsize::new(0)));
        let watch: Arc<dyn Watch> = Arc::clone(&counting) as _;
        job.segment(&gradient(0, 4), Segment { first: 0, end: 2 }, &watch).unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 2 * 4);
    }
}

#[test]
fn a_path_that_cannot_go_on_names_shard_and_tensor() {
    for order in ClimbOrder::ALL {
        let (_folder, mut job, initial) = climbing(MLP, 2, order);
        let huge = vec![3e38; initial.parameters.len()];
        job.load(ModelState { parameters: &huge, ..initial.values() }).unwrap();
        let error = shard(job.as_mut(), &gradient(0, 4), 3).unwrap_err();
        assert!(matches!(error, ComputeError::Path { shard: 3, .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.starts_with("model kind \"mlp\", shard 3: gradient 0: gradient of tensor \"layers."),
            "{said}"
        );
    }
}

#[test]
fn visits_that_do_not_fit_into_memory_are_refused_with_what_they_need() {
    let mut spec = job("kind = \"mlp\"\nhidden = [5000]", "kind = \"digits\"", TRAIN);
    spec.optimizer.method = method(1000);
    let (_folder, environment) = data_folder();
    let environment = DataEnvironment { memory_limit: 1 << 30, ..environment };
    let refused = |backend: CandleBackend| {
        let PrepareError::Worker(said) = backend.prepare(&spec, &Cancellation::default()).err().unwrap()
        else {
            panic!("not this worker's fault")
        };
        said
    };
    let backend = || CandleBackend::new(Registry::builtin(), environment.clone());
    // 375,010 parameters. In step: 1,000 gradients that are sent, two that wait, the weights of four shards and those at
    // which they began. One after the other: 1,000 gradients in each of three partials that wait, and two copies of the
    // weights.
    let one_after_another = backend().with_climb_order(ClimbOrder::OneAfterAnother);
    for (backend, takes) in [(backend(), "takes 1440 MiB"), (one_after_another, "takes 4294 MiB")] {
        let said = refused(backend);
        for words in ["climbing with shards of 3 samples", takes, "limit is 1024 MiB"] {
            assert!(said.contains(words), "expected {words:?} in {said:?}");
        }
    }
}
