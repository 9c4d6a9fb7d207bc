mod superseded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lookbehind_common::digest::Digest;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::{Segment, reduce};

use crate::compute::fixture::*;
use crate::compute::{Backend, ComputeError, PreparedJob, Request, Stopped, Watch};
use crate::data::Cancellation;
use crate::test_support::job;

fn bits(partial: &Partial) -> (Digest, Digest, u64, u64) {
    let sums = &partial.sums;
    (
        Digest::of(partial.gradient.as_bytes()),
        Digest::of(partial.statistics.as_bytes()),
        sums.loss.to_bits(),
        sums.correct,
    )
}

/// Loss of the perceptron 3 → 5 → 4 on one sample, in f64.
fn reference_loss(weights: &[f64], sample: usize) -> f64 {
    let layer = |x: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
        let row = |(row, bias): (&[f64], &f64)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        weight.chunks(x.len()).zip(bias).map(row).collect()
    };
    let x: Vec<f64> = features(sample).into_iter().map(f64::from).collect();
    let hidden: Vec<f64> = layer(&x, &weights[..15], &weights[15..20]).iter().map(|h| h.max(0.0)).collect();
    let logits = layer(&hidden, &weights[20..40], &weights[40..44]);
    logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[target(sample) as usize]
}

#[test]
fn a_shards_gradient_is_that_of_its_losses_over_the_samples_of_the_batch() {
    let (_folder, mut job, initial) = loaded(MLP, "epochs = 1\nbatch_size = 10\nshards = 3");
    let weights: Vec<f64> = initial.parameters.iter().map(|&weight| f64::from(weight)).collect();
    // The last batch has 2 samples, the second shard of the first batch samples 4, 5 and 6.
    for (batch, number, samples, denominator) in [(0, 1, 4..7, 10.0), (2, 1, 21..22, 2.0)] {
        let found = shard(job.as_mut(), &gradient(batch, 3), number).unwrap();
        let loss =
            |weights: &[f64]| samples.clone().map(|sample| reference_loss(weights, sample)).sum::<f64>();
        assert_eq!(found.sums.samples, samples.len() as u64);
        assert!((found.sums.loss - loss(&weights)).abs() < 1e-5);
        for (index, &found) in found.gradient.iter().enumerate() {
            let shifted = |by: f64| {
                let mut weights = weights.clone();
                weights[index] += by;
                loss(&weights)
            };
            let expected = (shifted(1e-6) - shifted(-1e-6)) / 2e-6 / denominator;
            assert!((f64::from(found) - expected).abs() < 1e-6, "{index}: {found}, expected {expected}");
        }
    }
}

#[test]
fn shards_add_up_to_the_whole_batch() {
    let (_folder, mut job, _) = loaded(MLP, "epochs = 1\nbatch_size = 10\nshards = 4");
    let whole = shard(job.as_mut(), &gradient(1, 1), 0).unwrap();
    let mut sum = Partial { gradient: FlatBuffer::zeros(whole.gradient.len()), ..Partial::default() };
    for number in 0..4 {
        let part = shard(job.as_mut(), &gradient(1, 4), number).unwrap();
        sum.gradient.iter_mut().zip(part.gradient.iter()).for_each(|(sum, part)| *sum += part);
        sum.sums.add(&part.sums);
    }
    assert_eq!((sum.sums.samples, sum.sums.correct), (10, whole.sums.correct));
    assert!((sum.sums.loss - whole.sums.loss).abs() < 1e-5);
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(sum.gradient.iter().zip(whole.gradient.iter()).all(close));
}

#[test]
fn a_partial_is_a_function_of_the_request_alone() {
    for model in [MLP, "kind = \"centred\"", "kind = \"dropout\""] {
        let train = "epochs = 1\nbatch_size = 11\nshards = 4";
        let (_folder, mut job, initial) = loaded(model, train);
        let alone = bits(&shard(job.as_mut(), &gradient(1, 4), 2).unwrap());

        for number in [3, 0, 1] {
            shard(job.as_mut(), &gradient(0, 4), number).unwrap();
            shard(job.as_mut(), &test_request(2), number % 2).unwrap();
        }
        let other = vec![0.5; initial.parameters.len()];
        job.load(ModelState { parameters: &other, ..initial.values() }).unwrap();
        shard(job.as_mut(), &gradient(1, 4), 2).unwrap();
        job.load(initial.values()).unwrap();
        assert_eq!(bits(&shard(job.as_mut(), &gradient(1, 4), 2).unwrap()), alone, "after other work");

        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let (_folder, mut job, _) = loaded(model, train);
                        bits(&shard(job.as_mut(), &gradient(1, 4), 2).unwrap())
                    })
                })
                .collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), alone, "in a new backend at the same time as others");
            }
        });
    }
}

#[test]
fn dropout_depends_on_the_batch_and_not_on_the_number_of_shards() {
    let (_folder, mut job) = prepare("kind = \"dropout\"", "epochs = 1\nbatch_size = 11\nshards = 4");
    let weights = vec![0.25; FEATURES * CLASSES];
    job.load(ModelState { parameters: &weights, statistics: &[] }).unwrap();
    let loss = |job: &mut dyn PreparedJob, request: Request| -> f64 {
        (0..request.shards)
            .map(|number| shard(job, &request, number).unwrap().gradient[0])
            .map(f64::from)
            .sum()
    };
    let (whole, cut) = (loss(job.as_mut(), gradient(0, 1)), loss(job.as_mut(), gradient(0, 11)));
    assert!((whole - cut).abs() < 1e-6);
    let later = loss(job.as_mut(), Request { epoch: 1, ..gradient(0, 1) });
    assert!((whole - later).abs() > 1e-4, "the order is fixed, so only the masks can differ between epochs");
}

#[test]
fn batch_statistics_are_weighted_by_the_shards_share_of_the_batch() {
    let (_folder, mut job) = prepare("kind = \"centred\"", "epochs = 1\nbatch_size = 11\nshards = 2");
    job.load(ModelState { parameters: &[1.0; FEATURES], statistics: &[0.0; 2 * FEATURES] }).unwrap();
    // Shards of 6 and 5 samples.
    let found = shard(job.as_mut(), &gradient(0, 2), 1).unwrap();
    for feature in 0..FEATURES {
        let values: Vec<f64> = (6..11).map(|sample| f64::from(features(sample)[feature])).collect();
        let mean = values.iter().sum::<f64>() / 5.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0;
        let share = 5.0 / 11.0;
        assert!((f64::from(found.statistics[feature]) - mean * share).abs() < 1e-6);
        assert!((f64::from(found.statistics[FEATURES + feature]) - variance * share).abs() < 1e-6);
    }
}

#[test]
fn the_test_split_is_counted_without_gradients_and_with_running_statistics() {
    let (_folder, mut job) = prepare("kind = \"centred\"", "epochs = 1\nbatch_size = 11\nshards = 4");
    let mean = [0.5_f32, -0.5, 0.25];
    let statistics = [mean.as_slice(), &[1.0; 3]].concat();
    job.load(ModelState { parameters: &[1.0; FEATURES], statistics: &statistics }).unwrap();
    let (mut loss, mut correct) = (0.0, 0);
    for sample in TRAIN..TRAIN + TEST {
        let mut logits: Vec<f64> =
            features(sample).iter().zip(mean).map(|(&x, mean)| f64::from(x) - f64::from(mean)).collect();
        logits.push(0.0);
        let target = target(sample) as usize;
        loss += logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[target];
        let greatest = logits.iter().copied().fold(f64::MIN, f64::max);
        correct += u64::from(logits.iter().position(|&z| z == greatest) == Some(target));
    }
    for shards in [1, 2, 9, 20] {
        let mut sums = lookbehind_common::partial::Sums::default();
        for number in 0..shards.min(9) {
            let part = shard(job.as_mut(), &test_request(shards), number).unwrap();
            assert!(part.gradient.is_empty() && part.statistics.is_empty());
            sums.add(&part.sums);
        }
        assert_eq!((sums.samples, sums.correct), (9, correct));
        assert!((sums.loss - loss).abs() < 1e-5);
        assert!(shard(job.as_mut(), &test_request(shards), shards.min(9)).is_err());
    }
}

#[test]
fn request_needs_loaded_weights_of_the_right_length() {
    let (_folder, mut job) = prepare(MLP, "epochs = 1\nbatch_size = 10");
    assert!(matches!(shard(job.as_mut(), &gradient(0, 1), 0), Err(ComputeError::NotLoaded)));
    let error = job.load(ModelState { parameters: &[0.0; 3], statistics: &[] }).unwrap_err().to_string();
    assert!(error.contains("\"mlp\"") && error.contains("3 elements, expected 44"), "{error}");
    assert!(matches!(shard(job.as_mut(), &gradient(0, 1), 0), Err(ComputeError::NotLoaded)));
    job.load(ModelState { parameters: &[0.0; 44], statistics: &[] }).unwrap();
    assert!(shard(job.as_mut(), &gradient(0, 1), 0).is_ok());
    assert!(matches!(
        shard(job.as_mut(), &gradient(3, 1), 0),
        Err(ComputeError::NoSuchBatch { batch: 3, batches: 3 })
    ));
    assert!(matches!(
        shard(job.as_mut(), &gradient(0, 1), 1),
        Err(ComputeError::NoSuchShard { shard: 1, shards: 1 })
    ));
    job.load(ModelState { parameters: &[0.0; 44], statistics: &[0.0] }).unwrap_err();
    assert!(matches!(shard(job.as_mut(), &gradient(0, 1), 0), Err(ComputeError::NotLoaded)));
}

/// Counts how often a job reports progress.
#[derive(Default)]
struct Advances(AtomicU32);

impl Watch for Advances {
    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn is_superseded(&self) -> bool {
        false
    }
}

/// A segment's partial, and how often the job reported progress.
fn advances(job: &mut dyn PreparedJob, request: &Request, segment: Segment) -> (Partial, u32) {
    let advances = Arc::new(Advances::default());
    let watch: Arc<dyn Watch> = Arc::clone(&advances) as _;
    (job.segment(request, segment, &watch).unwrap(), advances.0.load(Ordering::Relaxed))
}

#[test]
fn a_segment_is_the_canonical_sum_of_what_its_shards_are_alone_and_each_is_progress() {
    for threads in [1, 2, 3] {
        let (_folder, backend) = backend();
        let spec = job(MLP, FILES, "epochs = 1\nbatch_size = 11\nshards = 6");
        let mut job = backend.with_threads(threads).prepare(&spec, &Cancellation::default()).unwrap();
        let initial = job.initial_state().unwrap();
        job.load(initial.values()).unwrap();
        let alone: Vec<Partial> =
            (0..6).map(|number| shard(job.as_mut(), &gradient(1, 6), number).unwrap()).collect();
        // Repeated so often that every way of computing them is tried.
        for _ in 0..8 {
            for segment in [Segment::root(6), Segment { first: 0, end: 4 }, Segment { first: 4, end: 6 }] {
                let expected = reduce::<Stopped>(segment, ExchangeFormat::F32, &mut |part: Segment| {
                    Ok((part.len() == 1).then(|| alone[part.first as usize].clone()))
                });
                let (found, advances) = advances(job.as_mut(), &gradient(1, 6), segment);
                assert_eq!(bits(&found), bits(&expected.unwrap()), "{threads} threads, {segment}");
                assert_eq!(advances, segment.len());
            }
        }
    }
}

#[test]
fn a_long_shard_of_the_test_split_tells_that_it_advances() {
    let (_folder, mut job) = prepare(MLP, "epochs = 1\nbatch_size = 2\nshards = 1");
    let initial = job.initial_state().unwrap();
    job.load(initial.values()).unwrap();
    let (_, advances) = advances(job.as_mut(), &test_request(1), Segment::root(1));
    assert_eq!(advances, 5, "9 samples, 2 at a time");
}
