//! Batch normalisation with both perturbations, all rules of what counts for running statistics, and both formats of
//! gradients, against the independent reference in f64.

use std::cell::RefCell;
use std::ops::Range;

use lookbehind_common::job::{BatchStatistics, ExchangeFormat, JobFile, MethodName, Perturbation};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::{FileTensor, safetensors, write_samples};
use lookbehind_tests::jobs::{job, samples};
use lookbehind_tests::reference::{self, Normed, Samples, Tensors, Trainer, Values, normed, relative_error};

/// Largest error of a run, relative to the distance that the weights moved.
const TOLERANCE: f64 = 1e-4;
/// Batches of 36, 36 and 28 samples in five shards: all are cut into shards of unequal size.
const ROWS: usize = 100;
const BATCH: usize = 36;
const SHARDS: usize = 5;
const FILE: &str = "hundred.safetensors";
const INPUTS: usize = 64;
const HIDDEN: usize = 8;
const CLASSES: usize = 10;

/// Initial parameters and running statistics.
fn initial() -> Vec<FileTensor> {
    // Any values that differ from each other.
    let values = |len: usize, size: f32| -> Vec<f32> {
        (0..len).map(|index| size * (0.37 + 1.9 * index as f32).sin()).collect()
    };
    let scale: Vec<f32> = values(HIDDEN, 0.2).iter().map(|value| 1.0 + value).collect();
    vec![
        FileTensor::f32("0.bias", &[HIDDEN], &values(HIDDEN, 0.1)),
        FileTensor::f32("0.weight", &[HIDDEN, INPUTS], &values(HIDDEN * INPUTS, 0.12)),
        FileTensor::f32("1.bias", &[HIDDEN], &values(HIDDEN, 0.3)),
        FileTensor::f32("1.running_mean", &[HIDDEN], &values(HIDDEN, 0.2)),
        FileTensor::f32("1.running_var", &[HIDDEN], &[1.3; HIDDEN]),
        FileTensor::f32("1.weight", &[HIDDEN], &scale),
        FileTensor::f32("3.bias", &[CLASSES], &values(CLASSES, 0.1)),
        FileTensor::f32("3.weight", &[CLASSES, HIDDEN], &values(CLASSES * HIDDEN, 0.3)),
    ]
}

fn jobs(init: &str) -> Vec<JobFile> {
    let methods = [
        "method = 'sam'",
        "method = 'multistep_sam'\nk = 2",
        "method = 'lookahead_sam'\nk = 2\nalpha = 0.5",
        "method = 'lookbehind'\nk = 3\nalpha = 0.5",
        "method = 'lookbehind'\nk = 2\nascent = 'asam'\nrho = 0.5\nalpha = 'adaptive'\ngradients = 'reference'",
    ];
    let mut jobs = Vec::new();
    for (number, method) in methods.into_iter().enumerate() {
        for perturbation in [Perturbation::Global, Perturbation::Shard] {
            for counted in [BatchStatistics::EveryPass, BatchStatistics::Unperturbed, BatchStatistics::Frozen]
            {
                let mut job = job(&format!(
                    "name = 'normed'\n[model]\nkind = 'sequential'\ninit = '{init}'\nlayers = [\
                     {{ kind = 'linear', out_features = {HIDDEN} }}, {{ kind = 'batch_norm' }}, {{ kind = 'relu' }}, \
                     {{ kind = 'linear' }}]\n[data]\nkind = 'safetensors'\ntrain = '{FILE}'\nshuffle = false\n\
                     [train]\nepochs = 2\nbatch_size = {BATCH}\nshards = {SHARDS}\n[optimizer]\n{method}\n\
                     [optimizer.base]\nkind = 'sgd'\nlr = 0.1\nmomentum = 0.9\n"
                ));
                job.optimizer.perturbation = Some(perturbation);
                job.optimizer.batch_statistics = Some(counted);
                let rounds = number % 2 == usize::from(perturbation == Perturbation::Shard);
                job.train.exchange = rounds.then_some(ExchangeFormat::Bf16);
                jobs.push(job);
            }
        }
    }
    jobs
}

/// The final weights and running statistics by the reference.
fn expected(job: &JobFile, init: &Tensors, samples: &Samples) -> Tensors {
    let spec = job.validate().unwrap();
    let names = reference::NAMES.map(str::to_owned);
    let slow: Values = names.iter().map(|name| init[name].1.clone()).collect();
    let tensors: Vec<(String, usize)> = names.iter().map(|name| (name.clone(), init[name].0.len())).collect();
    let mut trainer = Trainer::new(&spec, &tensors, slow);
    let mut running = [&init["1.running_mean"].1, &init["1.running_var"].1].map(Clone::clone);
    let frozen = spec.optimizer.batch_statistics == BatchStatistics::Frozen;
    let given = frozen.then(|| running.clone());
    for step in reference::outer_steps(&spec, ROWS) {
        // Of each shard in each forward pass, in the order of the passes.
        let shards: RefCell<Vec<(usize, Normed)>> = RefCell::default();
        let gradient = |weights: &Values, batch: &Range<usize>| {
            let found = normed(weights, samples, batch, given.as_ref());
            let gradient = found.gradient.clone();
            shards.borrow_mut().push((batch.len(), found));
            gradient
        };
        trainer.outer_step(&step.batches, step.learning_rate, &gradient);
        for (number, pass) in shards.into_inner().chunks(SHARDS).enumerate() {
            // A pass at the slow or fast weights comes first, or first in each inner step.
            let turns = spec.optimizer.method.parts().name == MethodName::LookaheadSam;
            let unperturbed = number == 0 || turns && number % 2 == 0;
            match spec.optimizer.batch_statistics {
                BatchStatistics::EveryPass => count(&mut running, pass),
                BatchStatistics::Unperturbed if unperturbed => count(&mut running, pass),
                BatchStatistics::Unperturbed | BatchStatistics::Frozen => {}
            }
        }
    }
    let mut tensors = init.clone();
    let [mean, variance] = running;
    for (name, values) in names.into_iter().zip(trainer.slow) {
        tensors.get_mut(&name).unwrap().1 = values;
    }
    tensors.get_mut("1.running_mean").unwrap().1 = mean;
    tensors.get_mut("1.running_var").unwrap().1 = variance;
    tensors
}

/// r = 0.9 r + 0.1 x, with x the statistics of the shards weighted by their shares of the batch.
fn count([mean, variance]: &mut [Vec<f64>; 2], pass: &[(usize, Normed)]) {
    let samples: usize = pass.iter().map(|(samples, _)| samples).sum();
    let weighted = |of: &dyn Fn(&Normed) -> f64| {
        pass.iter().map(|(count, shard)| *count as f64 / samples as f64 * of(shard)).sum::<f64>()
    };
    for channel in 0..HIDDEN {
        mean[channel] = 0.9 * mean[channel] + 0.1 * weighted(&|shard| shard.mean[channel]);
        variance[channel] = 0.9 * variance[channel] + 0.1 * weighted(&|shard| shard.variance[channel]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normalised_models_end_where_the_reference_does_with_their_running_statistics() {
    let cluster = Cluster::of(3).await;
    let samples = samples(ROWS);
    write_samples(&cluster.data().join(FILE), &samples);
    let file = safetensors(&initial());
    let init = lookbehind_tests::files::tensors(&file);
    let digest = cluster.client().upload(file).await.unwrap();
    let mut submitted = Vec::new();
    for job in jobs(&digest) {
        submitted.push((cluster.client().submit(&job).await, job));
    }
    for (id, job) in submitted {
        let what = format!("{:?} {:?}", job.optimizer, job.train.exchange);
        assert!(!cluster.client().finish(&id).await.digest().is_empty(), "{what}");
        let (got, _) = cluster.client().weights(&id).await;
        let expected = expected(&job, &init, &samples);
        let part = |of_statistics: bool| -> Tensors {
            let all = expected.iter().filter(|(name, _)| name.contains("running") == of_statistics);
            all.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
        };
        if job.optimizer.batch_statistics == Some(BatchStatistics::Frozen) {
            assert!(part(true).iter().all(|(name, tensor)| got[name] == *tensor), "{what}: {got:?}");
            let error = relative_error(&got, &part(false), &init);
            assert!(error <= TOLERANCE, "{what}: off by {error:.1e} of the distance moved");
            continue;
        }
        for (part, named) in [(part(false), "weights"), (part(true), "running statistics")] {
            let error = relative_error(&got, &part, &init);
            assert!(error <= TOLERANCE, "{what}: {named} are off by {error:.1e} of the distance moved");
        }
    }
}
