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
use crate::compute::{Backend, CandleBackend, PrepareError, Unwatched};
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
fn climbing(model: &str, k: u32) -> (TempDir, Box<dyn PreparedJob>, ModelState<FlatBuffer>) {
    let (folder, backend) = backend();
    let mut spec = job(model, &format!("{FILES}\nshuffle = false"), TRAIN);
    spec.optimizer.method = method(k);
    let mut job = backend.prepare(&spec, &Cancellation::default()).unwrap();
    let initial = job.initial_state().unwrap();
    job.load(initial.values()).unwrap();
    (folder, job, initial)
}

#[test]
fn a_visit_is_made_of_the_gradients_at_the_shards_own_perturbed_weights() {
    for model in [MLP, "kind = \"centred\"", "kind = \"dropout\""] {
        let (_folder, mut climbing, initial) = climbing(model, 3);
        let (_other, mut single, _) = loaded(model, TRAIN);
        for number in [2, 0] {
            let found = shard(climbing.as_mut(), &gradient(1, 4), number).unwrap();
            let layout = single.description().layout.clone();
            let optimizer = OptimizerSpec { method: method(3), ..job(model, FILES, TRAIN).optimizer };
            let visit = Visit::of(&optimizer.method).unwrap();
            let mut climb = Climb::new(visit, &optimizer, &layout, &initial.parameters).unwrap();
            let expected = loop {
                let weights = ModelState { parameters: climb.weights(), statistics: &initial.statistics[..] };
                single.load(weights).unwrap();
                let at = shard(single.as_mut(), &gradient(1, 4), number).unwrap();
                if let Some(partial) = climb.absorb(&at).unwrap() {
                    break partial;
                }
            };
            assert_eq!(bits(&found), bits(&expected), "{model}, shard {number}");
            assert_eq!(found.sums, expected.sums);
        }
    }
}

#[test]
fn a_segment_is_the_sum_of_the_visits_of_its_shards_and_tests_are_at_the_slow_weights() {
    let (_folder, mut job, _) = climbing("kind = \"centred\"", 2);
    let alone = bits(&shard(job.as_mut(), &test_request(2), 1).unwrap());
    let mut parts = |segment: Segment| shard(job.as_mut(), &gradient(0, 4), segment.first);
    let expected = reduce(Segment::root(4), ExchangeFormat::F32, &mut |segment: Segment| {
        (segment.len() == 1).then(|| parts(segment).map_err(Stopped::from)).transpose()
    });
    let expected = bits(&expected.unwrap());
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let found = job.segment(&gradient(0, 4), Segment::root(4), &watch).unwrap();
    assert_eq!(bits(&found), expected);
    assert_eq!(bits(&shard(job.as_mut(), &test_request(2), 1).unwrap()), alone);
}

#[test]
fn a_visit_that_is_superseded_ends_early_and_changes_nothing() {
    let (_folder, mut job, _) = climbing(MLP, 2);
    let request = gradient(0, 4);
    let watched = |job: &mut dyn PreparedJob, times: usize| {
        let patient = Arc::new(Patient { times, asked: AtomicUsize::new(0) });
        let watch: Arc<dyn Watch> = Arc::clone(&patient) as _;
        let computed = job.segment(&request, Segment { first: 1, end: 2 }, &watch);
        (computed, patient.asked.load(Ordering::Relaxed))
    };
    let (whole, asked) = watched(job.as_mut(), usize::MAX);
    let whole = bits(&whole.unwrap());
    assert!(asked > 12, "asked within each of the three gradients; found {asked}");
    for times in 1..asked {
        let (computed, _) = watched(job.as_mut(), times);
        assert!(matches!(computed, Err(Stopped::Superseded)), "{times}: {computed:?}");
        let again = watched(job.as_mut(), usize::MAX).0.unwrap();
        assert_eq!(
            bits(&again),
            whole,
            "after a visit that was superseded when asked for the {times}th time"
        );
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
    let (_folder, mut job, _) = climbing(MLP, 3);
    let counting = Arc::new(Counting(AtomicUsize::new(0)));
    let watch: Arc<dyn Watch> = Arc::clone(&counting) as _;
    job.segment(&gradient(0, 4), Segment { first: 0, end: 2 }, &watch).unwrap();
    assert_eq!(counting.0.load(Ordering::Relaxed), 2 * 4);
}

#[test]
fn a_path_that_cannot_go_on_names_shard_and_tensor() {
    let (_folder, mut job, initial) = climbing(MLP, 2);
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

#[test]
fn visits_that_do_not_fit_into_memory_are_refused_with_what_they_need() {
    let mut spec = job("kind = \"mlp\"\nhidden = [5000]", "kind = \"digits\"", TRAIN);
    spec.optimizer.method = method(1000);
    let (_folder, environment) = data_folder();
    let environment = DataEnvironment { memory_limit: 4 << 30, ..environment };
    let backend = CandleBackend::new(Registry::builtin(), environment);
    let PrepareError::Worker(said) = backend.prepare(&spec, &Cancellation::default()).err().unwrap() else {
        panic!("not this worker's fault")
    };
    // 375,010 parameters: 1,000 gradients in each of three partials that wait, and two copies of the weights.
    for words in ["climbing with shards of 3 samples", "takes 4294 MiB", "limit is 4096 MiB"] {
        assert!(said.contains(words), "expected {words:?} in {said:?}");
    }
}
