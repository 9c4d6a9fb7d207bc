//! The result is a function of the job alone, whichever workers compute it.

use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use candle_nn::{Linear, Module};
use lookbehind_common::job::{BatchStatistics, Group, JobFile, Perturbation, Precision, parse_parameters};
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{SMALL_JOB, job, on_workers, small, small_with};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::compute::{Request, RequestKind};
use lookbehind_worker::data::{DataError, Dataset, InMemory, Rows};
use lookbehind_worker::models::{ForwardContext, Model};
use lookbehind_worker::registry::Registry;

/// Runs a job on one to four workers of a cluster; returns the digest that all runs agree on.
async fn digest_on_any_workers(cluster: &Cluster, job: &JobFile, what: &str) -> String {
    let mut submitted = Vec::new();
    for workers in 1..=4 {
        let mut job = job.clone();
        on_workers(&mut job, workers);
        submitted.push((workers, Box::pin(cluster.client().submit(&job)).await, job));
    }
    let mut digests = Vec::new();
    for (workers, id, job) in submitted {
        let mut history = cluster.client().finish(&id).await;
        digests.push(history.digest().to_owned());
        // On a busy machine a run may end before the last worker has loaded the job: its digest is compared, and the
        // run is repeated.
        within(&format!("{what}: a run of all {workers} workers"), async {
            while history.most_workers() < workers {
                history = Box::pin(cluster.client().run(&job)).await;
                digests.push(history.digest().to_owned());
            }
        })
        .await;
        assert_eq!(history.most_workers(), workers, "{what}: workers that took part");
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{what}: 1 to 4 workers gave {digests:?}");
    digests.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_four_workers_end_at_the_same_bytes_for_any_seed_and_batch_size() {
    let cluster = Cluster::of(4).await;
    let mut digests = Vec::new();
    for seed in [0, 1, i64::MAX as u64] {
        // Sizes that leave a last batch of 5 (fewer than the shards), 17, and 97 samples.
        for batch_size in [24, 60, 100] {
            let job = small_with(|job| {
                job.seed = Some(seed);
                job.train.batch_size = batch_size;
            });
            let what = format!("seed {seed}, batches of {batch_size}");
            digests.push(digest_on_any_workers(&cluster, &job, &what).await);
        }
    }
    let all = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), all, "seeds and batch sizes must matter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_four_workers_end_at_the_same_bytes_without_the_last_batch_and_for_odd_shards() {
    let cluster = Cluster::of(4).await;
    for shards in [5, 7, 13] {
        let job = small_with(|job| {
            job.data.drop_last = Some(true);
            job.train.shards = Some(shards);
        });
        digest_on_any_workers(&cluster, &job, &format!("{shards} shards")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_four_workers_end_at_the_same_bytes_in_bf16_and_not_at_those_of_f32() {
    let cluster = Cluster::of(4).await;
    let job = |precision| small_with(|job| job.train.precision = Some(precision));
    let rounded = digest_on_any_workers(&cluster, &job(Precision::Bf16), "bf16").await;
    assert_ne!(rounded, cluster.client().run(&job(Precision::F32)).await.digest());
    assert_eq!(cluster.client().run(&small()).await.digest(), small_digest().await, "f32 is the default");
}

/// The small job as a normalised model, of which the first layer is frozen or not, with everything else that tells tensors
/// apart.
fn fine_tuned(frozen: bool) -> JobFile {
    let mut job = job(&SMALL_JOB.replace("kind = \"mlp\"", "kind = \"sequential\"").replace(
        "hidden = [16]",
        "layers = [{ kind = \"linear\", out_features = 16 }, \
            { kind = \"batch_norm\" }, { kind = \"relu\" }, { kind = \"linear\" }]",
    ));
    // A variance needs two samples in each shard.
    (job.train.shards, job.data.drop_last) = (Some(4), Some(true));
    let group = |pattern: &str| Group { tensors: vec![pattern.to_owned()], ..Group::default() };
    job.optimizer.groups = vec![
        Group { frozen: Some(frozen), ..group("0.*") },
        Group { lr_factor: Some(0.5), ascent: Some(false), ..group("1.*") },
    ];
    job.optimizer.base.decay_biases_and_norms = Some(false);
    job.optimizer.clip_norm = Some(0.5);
    job.optimizer.batch_statistics = frozen.then_some(BatchStatistics::Frozen);
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_four_workers_end_at_the_same_bytes_with_parameter_groups_clipping_and_frozen_statistics() {
    let cluster = Cluster::of(4).await;
    let mut digests = Vec::new();
    for frozen in [false, true] {
        for perturbation in [Perturbation::Global, Perturbation::Shard] {
            let mut job = fine_tuned(frozen);
            job.optimizer.perturbation = Some(perturbation);
            let what = format!("frozen {frozen}, {perturbation:?}");
            digests.push(digest_on_any_workers(&cluster, &job, &what).await);
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 4, "they must matter");
}

/// A linear classifier after dropout.
struct Dropping(Linear);

impl Model for Dropping {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
        self.0.forward(&context.dropout(0, 0.3, &inputs.flatten_from(1)?)?)
    }
}

fn with_dropout() -> Registry {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parameters {}
    Registry::builtin().with_model("dropping", |parameters, data, builder| {
        let Parameters {} = parse_parameters("model", parameters)?;
        let layer = candle_nn::linear(data.input_size(), data.classes, builder.pp("layer"))?;
        Ok(Box::new(Dropping(layer)))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropout_follows_the_sample_and_not_the_worker_or_the_gradient() {
    let mut cluster = Cluster::new().await;
    for number in 1..=4 {
        let backend = cluster.backend(with_dropout());
        cluster.add(&format!("w{number}"), backend).await;
    }
    let dropping = small_with(|job| {
        job.model.kind = "dropping".to_owned();
        job.model.parameters.clear();
    });
    let digest = digest_on_any_workers(&cluster, &dropping, "dropout").await;
    let mut reference = dropping;
    reference.optimizer.gradients = Some(lookbehind_common::job::file::GradientsName::Reference);
    let masks_again = cluster.client().run(&reference).await;
    assert_eq!(masks_again.digest(), digest, "masks must be equal in all gradients of a batch");
}

/// Samples of each shard that was computed: epoch, batch, and the numbers of the samples within the data set.
type Seen = Arc<Mutex<Vec<(u64, u64, Vec<u64>)>>>;

/// Records epoch and batch of the request whose samples are computed next.
struct Recorder(Seen);

impl Script for Recorder {
    fn before(&self, request: &Request, _shard: u32) {
        if request.kind == RequestKind::Gradient {
            self.0.lock().unwrap().push((request.epoch, request.batch, Vec::new()));
        }
    }
}

/// Samples in the training split of [`numbered`].
const SAMPLES: u64 = 197;
/// An input is the sample's number divided by this.
const SCALE: f32 = 1024.0;

/// A data set whose inputs identify the sample.
fn numbered() -> Result<Box<dyn Dataset>, DataError> {
    let inputs = (0..SAMPLES).map(|sample| sample as f32 / SCALE).collect();
    let targets = (0..SAMPLES).map(|sample| (sample % 10) as u32).collect();
    Ok(Box::new(InMemory::new(vec![1], 10, Rows { inputs, targets }, Rows::default())?))
}

/// Records the samples for which gradients are computed.
struct Recorded {
    inner: Box<dyn Model>,
    seen: Seen,
}

impl Model for Recorded {
    fn forward(&self, inputs: &Tensor, context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
        // Before the first request only the probe calls the model.
        if let Some((_, _, shard)) = self.seen.lock().unwrap().last_mut() {
            let elements: Vec<f32> = inputs.flatten_all()?.to_vec1()?;
            shard.extend(elements.into_iter().map(|element| (element * SCALE) as u64));
        }
        self.inner.forward(inputs, context)
    }
}

/// The samples of every batch that one worker computed for a job of plain SGD, in the order of the batches.
async fn batches_of(seed: u64) -> Vec<(u64, u64, Vec<u64>)> {
    let seen = Seen::default();
    let mut cluster = Cluster::new().await;
    let inside = Arc::clone(&seen);
    let registry = Registry::builtin().with_dataset("safetensors", |_, _| numbered()).with_model(
        "mlp",
        move |parameters, data, builder| {
            let inner = lookbehind_worker::models::mlp(parameters, data, builder)?;
            Ok(Box::new(Recorded { inner, seen: Arc::clone(&inside) }))
        },
    );
    let backend = Scripted::new(cluster.backend(registry), Arc::new(Recorder(Arc::clone(&seen))));
    cluster.add("recording", backend).await;
    let mut job = small();
    job.seed = Some(seed);
    job.optimizer = Default::default();
    job.optimizer.method = lookbehind_common::job::MethodName::Sgd;
    cluster.client().run(&job).await;
    let mut batches: Vec<(u64, u64, Vec<u64>)> = Vec::new();
    for (epoch, batch, shard) in seen.lock().unwrap().drain(..) {
        match batches.last_mut() {
            Some(last) if (last.0, last.1) == (epoch, batch) => last.2.extend(shard),
            _ => batches.push((epoch, batch, shard)),
        }
    }
    batches
}

/// All samples of an epoch, in its order.
fn order(batches: &[(u64, u64, Vec<u64>)], epoch: u64) -> Vec<u64> {
    batches.iter().filter(|batch| batch.0 == epoch).flat_map(|batch| batch.2.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_takes_each_sample_once_in_an_order_keyed_by_seed_and_epoch() {
    let batches = batches_of(11).await;
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.2.len()).collect();
    assert_eq!(sizes, [[24; 8].as_slice(), &[5], &[24; 8], &[5]].concat());
    for epoch in [0, 1] {
        let mut samples = order(&batches, epoch);
        let keyed = lookbehind_common::sampling::epoch_order(11, epoch, SAMPLES, true);
        assert_eq!(samples, keyed, "epoch {epoch} does not take the order that its key gives");
        samples.sort_unstable();
        assert_eq!(
            samples,
            (0..SAMPLES).collect::<Vec<u64>>(),
            "epoch {epoch} drops a sample or uses one twice"
        );
    }
    assert_ne!(order(&batches, 0), order(&batches, 1), "epochs must have orders of their own");
    assert_eq!(batches, batches_of(11).await, "the same job must take the same order");
    assert_ne!(order(&batches, 0), order(&batches_of(12).await, 0), "seeds must have orders of their own");
}
