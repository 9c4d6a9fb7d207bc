use candle_core::Tensor;
use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::Contribution;
use lookbehind_common::digest::Digest;
use tempfile::TempDir;

use super::*;
use crate::compute::{Work, WorkKind};
use crate::models::Pass;
use crate::test_support::{data_folder, f32_tensor, i64_tensor, job, write_file};

const FEATURES: usize = 3;
const CLASSES: usize = 4;
const TRAIN: usize = 22;
const TEST: usize = 9;
const FILES: &str = "kind = \"safetensors\"\ntrain = \"train.st\"\ntest = \"test.st\"";
const MLP: &str = "kind = \"mlp\"\nhidden = [5]";

fn features(sample: usize) -> Vec<f32> {
    (0..FEATURES).map(|feature| ((sample * 7 + feature * 5) % 11) as f32 / 5.0 - 1.0).collect()
}

fn target(sample: usize) -> i64 {
    ((sample * 3 + sample / 4) % CLASSES) as i64
}

/// A backend whose data folder holds 22 samples for training and 9 others for testing.
fn backend() -> (TempDir, CandleBackend) {
    let (folder, environment) = data_folder();
    for (name, samples) in [("train.st", 0..TRAIN), ("test.st", TRAIN..TRAIN + TEST)] {
        let inputs: Vec<f32> = samples.clone().flat_map(features).collect();
        let targets: Vec<i64> = samples.clone().map(target).collect();
        let inputs = f32_tensor("inputs", &[samples.len(), FEATURES], &inputs);
        write_file(&folder.path().join(name), &[inputs, i64_tensor("targets", &targets)]);
    }
    let registry = Registry::builtin()
        .with_model("centred", |_, _, builder| {
            let scale = builder.get(FEATURES, "scale")?;
            let mean = builder.pp("centre").get(FEATURES, "running_mean")?;
            builder.pp("centre").get(FEATURES, "running_var")?;
            Ok(Box::new(Centred { scale, mean }))
        })
        .with_model("dropout", |_, data, builder| {
            let weight = builder.get((data.input_size(), data.classes), "weight")?;
            Ok(Box::new(Dropout { weight }))
        })
        .with_model("crooked", |_, data, builder| {
            let weight = builder.get((data.input_size(), data.classes + 1), "weight")?;
            Ok(Box::new(Dropout { weight }))
        });
    (folder, CandleBackend::new(registry, environment))
}

/// Scales and centres its inputs as a normalisation layer would, with a constant as fourth class.
struct Centred {
    scale: Tensor,
    mean: Tensor,
}

impl Model for Centred {
    fn forward(&self, inputs: &Tensor, pass: &Pass<'_>) -> candle_core::Result<Tensor> {
        let x = inputs.broadcast_mul(&self.scale)?;
        let rows = x.dim(0)?;
        let centred = if pass.is_training() {
            if rows < 2 {
                candle_core::bail!("a variance needs 2 values per channel, found {rows}");
            }
            let mean = x.mean(0)?;
            let centred = x.broadcast_sub(&mean)?;
            pass.report("centre.running_mean", &mean);
            pass.report("centre.running_var", &(centred.sqr()?.sum(0)? / (rows - 1) as f64)?);
            centred
        } else {
            x.broadcast_sub(&self.mean)?
        };
        Tensor::cat(&[&centred, &centred.zeros_like()?.narrow(1, 0, 1)?], 1)
    }
}

/// A linear map of inputs of which half is dropped.
struct Dropout {
    weight: Tensor,
}

impl Model for Dropout {
    fn forward(&self, inputs: &Tensor, pass: &Pass<'_>) -> candle_core::Result<Tensor> {
        pass.dropout(0, 0.5, inputs)?.matmul(&self.weight)
    }
}

fn prepare(model: &str, train: &str) -> (TempDir, Box<dyn PreparedJob>) {
    let (folder, backend) = backend();
    let job = backend.prepare(&job(model, &format!("{FILES}\nshuffle = false"), train)).unwrap();
    (folder, job)
}

/// Prepares a job and loads its initial weights.
fn loaded(model: &str, train: &str) -> (TempDir, Box<dyn PreparedJob>, Arena) {
    let (folder, mut job) = prepare(model, train);
    let (parameters, statistics) = job.initial_state().unwrap();
    job.load(&parameters, &statistics).unwrap();
    (folder, job, parameters)
}

fn refuse(model: &str, data: &str, train: &str) -> PrepareError {
    let (_folder, backend) = backend();
    backend.prepare(&job(model, data, train)).err().unwrap()
}

fn gradient(batch: u64, shards: u32) -> Work {
    Work { kind: WorkKind::Gradient, epoch: 0, batch, shards }
}

fn test_work(shards: u32) -> Work {
    Work { kind: WorkKind::Test, epoch: 0, batch: 0, shards }
}

fn bits(contribution: &Contribution) -> (Digest, Digest, u64, u64) {
    let sums = &contribution.sums;
    (
        Digest::of(contribution.gradient.as_bytes()),
        Digest::of(contribution.statistics.as_bytes()),
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
    let (_folder, mut job, parameters) = loaded(MLP, "epochs = 1\nbatch_size = 10\nshards = 3");
    let weights: Vec<f64> = parameters.iter().map(|&weight| f64::from(weight)).collect();
    // The last batch has 2 samples, the second shard of the first batch samples 4, 5 and 6.
    for (batch, shard, samples, denominator) in [(0, 1, 4..7, 10.0), (2, 1, 21..22, 2.0)] {
        let found = job.contribution(&gradient(batch, 3), shard).unwrap();
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
    let whole = job.contribution(&gradient(1, 1), 0).unwrap();
    let mut sum = Contribution { gradient: Arena::zeros(whole.gradient.len()), ..Contribution::default() };
    for shard in 0..4 {
        let part = job.contribution(&gradient(1, 4), shard).unwrap();
        sum.gradient.iter_mut().zip(part.gradient.iter()).for_each(|(sum, part)| *sum += part);
        sum.sums.add(&part.sums);
    }
    assert_eq!((sum.sums.samples, sum.sums.correct), (10, whole.sums.correct));
    assert!((sum.sums.loss - whole.sums.loss).abs() < 1e-5);
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(sum.gradient.iter().zip(whole.gradient.iter()).all(close));
}

#[test]
fn a_contribution_is_a_function_of_the_work_alone() {
    for model in [MLP, "kind = \"centred\"", "kind = \"dropout\""] {
        let train = "epochs = 1\nbatch_size = 11\nshards = 4";
        let (_folder, mut job, parameters) = loaded(model, train);
        let statistics = job.initial_state().unwrap().1;
        let alone = bits(&job.contribution(&gradient(1, 4), 2).unwrap());

        for shard in [3, 0, 1] {
            job.contribution(&gradient(0, 4), shard).unwrap();
            job.contribution(&test_work(2), shard % 2).unwrap();
        }
        job.probe().unwrap();
        job.load(&vec![0.5; parameters.len()], &statistics).unwrap();
        job.contribution(&gradient(1, 4), 2).unwrap();
        job.load(&parameters, &statistics).unwrap();
        assert_eq!(bits(&job.contribution(&gradient(1, 4), 2).unwrap()), alone, "after other work");

        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let (_folder, mut job, _) = loaded(model, train);
                        bits(&job.contribution(&gradient(1, 4), 2).unwrap())
                    })
                })
                .collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), alone, "in a fresh backend beside others");
            }
        });
    }
}

#[test]
fn dropout_depends_on_the_batch_and_not_on_the_number_of_shards() {
    let (_folder, mut job) = prepare("kind = \"dropout\"", "epochs = 1\nbatch_size = 11\nshards = 4");
    let weights = vec![0.25; FEATURES * CLASSES];
    job.load(&weights, &[]).unwrap();
    let loss = |job: &mut dyn PreparedJob, work: Work| -> f64 {
        (0..work.shards).map(|shard| job.contribution(&work, shard).unwrap().gradient[0]).map(f64::from).sum()
    };
    let (whole, cut) = (loss(job.as_mut(), gradient(0, 1)), loss(job.as_mut(), gradient(0, 11)));
    assert!((whole - cut).abs() < 1e-6);
    let later = loss(job.as_mut(), Work { epoch: 1, ..gradient(0, 1) });
    assert!((whole - later).abs() > 1e-4, "the order is fixed, so only the masks can differ between epochs");
}

#[test]
fn statistics_are_weighted_by_the_shards_share_of_the_batch() {
    let (_folder, mut job) = prepare("kind = \"centred\"", "epochs = 1\nbatch_size = 11\nshards = 2");
    job.load(&[1.0; FEATURES], &[0.0; 2 * FEATURES]).unwrap();
    // Shards of 6 and 5 samples.
    let found = job.contribution(&gradient(0, 2), 1).unwrap();
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
    job.load(&[1.0; FEATURES], &[mean.as_slice(), &[1.0; 3]].concat()).unwrap();
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
        let mut sums = lookbehind_common::contribution::Sums::default();
        for shard in 0..shards.min(9) {
            let part = job.contribution(&test_work(shards), shard).unwrap();
            assert!(part.gradient.is_empty() && part.statistics.is_empty());
            sums.add(&part.sums);
        }
        assert_eq!((sums.samples, sums.correct), (9, correct));
        assert!((sums.loss - loss).abs() < 1e-5);
        assert!(job.contribution(&test_work(shards), shards.min(9)).is_err());
    }
}

#[test]
fn work_needs_loaded_weights_of_the_right_length() {
    let (_folder, mut job) = prepare(MLP, "epochs = 1\nbatch_size = 10");
    assert!(matches!(job.contribution(&gradient(0, 1), 0), Err(ComputeError::NotLoaded)));
    let error = job.load(&[0.0; 3], &[]).unwrap_err().to_string();
    assert!(error.contains("\"mlp\"") && error.contains("3 numbers, expected 44"), "{error}");
    assert!(matches!(job.contribution(&gradient(0, 1), 0), Err(ComputeError::NotLoaded)));
    job.load(&[0.0; 44], &[]).unwrap();
    assert!(job.contribution(&gradient(0, 1), 0).is_ok());
    assert!(matches!(
        job.contribution(&gradient(3, 1), 0),
        Err(ComputeError::NoSuchBatch { batch: 3, batches: 3 })
    ));
    assert!(matches!(
        job.contribution(&gradient(0, 1), 1),
        Err(ComputeError::NoSuchShard { shard: 1, shards: 1 })
    ));
}

#[test]
fn every_backend_finds_the_same_description_initial_state_and_probe() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let ((_a, mut first), (_b, mut second)) = (prepare(MLP, train), prepare(MLP, train));
    assert_eq!(first.description(), second.description());
    let description = first.description();
    assert_eq!((description.train_samples, description.test_samples), (22, 9));
    assert_eq!(description.layout.parameters(), 44);
    assert_eq!(first.initial_state().unwrap(), second.initial_state().unwrap());
    assert_eq!(first.probe().unwrap(), second.probe().unwrap());
}

#[test]
fn the_probe_covers_model_seed_and_shapes_of_shards() {
    let probe = |model: &str, seed: u64, train: &str| {
        let (_folder, backend) = backend();
        let mut spec = job(model, FILES, train);
        spec.seed = seed;
        backend.prepare(&spec).unwrap().probe().unwrap()
    };
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let first = probe(MLP, 1, train);
    assert_ne!(first, probe(MLP, 2, train));
    assert_ne!(first, probe("kind = \"mlp\"\nhidden = [6]", 1, train));
    assert_ne!(first, probe(MLP, 1, "epochs = 1\nbatch_size = 10\nshards = 3"));
}

#[test]
fn what_the_job_asks_wrongly_is_the_jobs_fault() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    for (model, data, train, expected) in [
        ("kind = \"none\"", FILES, train, "model.kind: expected one of"),
        ("kind = \"mlp\"\nhidden = [0]", FILES, train, "model.hidden[0]"),
        (MLP, "kind = \"none\"", train, "data.kind: expected one of"),
        (MLP, "kind = \"safetensors\"\ntrain = \"/train.st\"", train, "data.train"),
        (MLP, &format!("{FILES}\ndrop_last = true"), "epochs = 1\nbatch_size = 23", "train.batch_size"),
        (
            "kind = \"crooked\"",
            FILES,
            train,
            "model kind \"crooked\", shard of 3 samples: logits of shape [3, 5], expected [3, 4]",
        ),
        (
            "kind = \"centred\"",
            FILES,
            train,
            "model kind \"centred\", shard of 1 samples: a variance needs 2 values",
        ),
    ] {
        match refuse(model, data, train) {
            PrepareError::Job(reason) => assert!(reason.contains(expected), "{reason}"),
            PrepareError::Worker(reason) => panic!("not this worker's fault: {reason}"),
        }
    }
}

#[test]
fn what_this_worker_lacks_is_the_workers_fault() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let large = "kind = \"mlp\"\nhidden = [10000, 10000]";
    for (model, data, expected) in [
        (MLP, "kind = \"safetensors\"\ntrain = \"gone.st\"", "\"gone.st\": not found"),
        (large, FILES, "model kind \"mlp\": tensor \"layers.1.weight\""),
    ] {
        match refuse(model, data, train) {
            PrepareError::Worker(reason) => assert!(reason.contains(expected), "{reason}"),
            PrepareError::Job(reason) => panic!("not the job's fault: {reason}"),
        }
    }
}

#[test]
fn a_panic_in_a_model_is_an_error_that_names_the_kind() {
    struct Panics(bool);
    impl Model for Panics {
        fn forward(&self, inputs: &Tensor, _pass: &Pass<'_>) -> candle_core::Result<Tensor> {
            assert!(self.0, "forward of {:?}", inputs.dims());
            inputs.narrow(1, 0, 1)
        }
    }
    let build = |when: &'static str| {
        let (_folder, environment) = data_folder();
        let registry = Registry::builtin().with_model("panics", move |_, _, builder| {
            assert!(when != "build", "constructor");
            builder.get(1, "weight")?;
            Ok(Box::new(Panics(false)))
        });
        let spec = job("kind = \"panics\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 8\nshards = 1");
        CandleBackend::new(registry, environment).prepare(&spec).err().unwrap()
    };
    for (when, message) in [("build", "constructor"), ("forward", "forward of [8, 8, 8]")] {
        let expected = format!("model kind \"panics\", data kind \"digits\": panicked: {message}");
        assert_eq!(build(when), PrepareError::Job(expected));
    }
}

/// Large enough for the matrix product to use several threads.
fn wide_digest() -> Digest {
    let (_folder, environment) = data_folder();
    let backend = CandleBackend::new(Registry::builtin(), environment);
    let spec = job(
        "kind = \"mlp\"\nhidden = [384, 256]",
        "kind = \"digits\"",
        "epochs = 1\nbatch_size = 700\nshards = 2",
    );
    backend.prepare(&spec).unwrap().probe().unwrap()
}

#[test]
fn the_digest_of_wide_shards_repeats() {
    let digest = wide_digest();
    assert_eq!(digest, wide_digest());
    println!("digest={digest}");
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let with_threads = |threads: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compute::candle::tests::the_digest_of_wide_shards_repeats", "--nocapture"])
            .env("RAYON_NUM_THREADS", threads)
            .env("CANDLE_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let start = text.find("digest=").expect("the other test prints its digest");
        text[start..start + "digest=".len() + 64].to_owned()
    };
    let expected = format!("digest={}", wide_digest());
    for threads in ["1", "2", "5"] {
        assert_eq!(with_threads(threads), expected, "{threads} threads");
    }
}

#[test]
fn the_device_is_described_in_words() {
    let (_folder, backend) = backend();
    assert!(backend.device().contains("threads") && backend.device().contains("candle"));
    assert!(backend.class_description().contains("caches"));
    assert!(!backend.class_description().contains("threads"));
}
