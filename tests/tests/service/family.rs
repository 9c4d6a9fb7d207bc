//! Every method, base optimizer and schedule through the whole service, against the independent reference in f64.

use std::sync::{Arc, Mutex};

use lookbehind_common::job::{ExchangeFormat, Group, JobFile, JobSpec};
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::{effective_shards, shard_range};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::write_samples;
use lookbehind_tests::jobs::{job, parity, samples};
use lookbehind_tests::reference::{self, Samples, Seen, Tensors, Values, read_tensors, relative_error};
use lookbehind_tests::scripted::{Script, Scripted};
use lookbehind_worker::compute::{Request, RequestKind};
use lookbehind_worker::registry::Registry;

/// Largest error of a run, relative to the distance that the weights moved.
const TOLERANCE: f64 = 1e-4;
/// Number of samples. Batches of 16 leave one of 4 at an epoch's end, which is fewer than the shards and is, if an
/// outer step takes three batches, the only one in its outer step.
const ROWS: usize = 100;
const FILE: &str = "hundred.safetensors";

const MOMENTUM: &str = "kind = 'sgd'\nlr = 0.1\nmomentum = 0.9\nweight_decay = 5e-4";
const BASES: [&str; 5] = [
    "kind = 'sgd'\nlr = 0.1",
    "kind = 'sgd'\nlr = 0.1\nmomentum = 0.9\nnesterov = true\nweight_decay = 5e-4",
    "kind = 'adamw'\nlr = 1e-3\nbetas = [0.9, 0.99]\nweight_decay = 0.05",
    "kind = 'adam'\nlr = 1e-3\nbetas = [0.9, 0.99]\neps = 1e-6\nweight_decay = 0.05",
    "kind = 'lion'\nlr = 1e-3\nweight_decay = 0.05",
];
const EPOCHS: &str = "epochs = 2";

fn text(length: &str, optimizer: &str, base: &str, schedule: &str) -> JobFile {
    job(&format!(
        "name = 'family'\n[model]\nkind = 'mlp'\nhidden = [32]\n\
         [data]\nkind = 'safetensors'\ntrain = '{FILE}'\nshuffle = false\n\
         [train]\n{length}\nbatch_size = 16\nshards = 8\n\
         [optimizer]\n{optimizer}\n[optimizer.base]\n{base}\n[schedule]\n{schedule}\n"
    ))
}

/// A cluster with data and initial weights, and the same data and weights for the reference.
struct Bench {
    cluster: Cluster,
    init: Tensors,
    init_digest: String,
    samples: Samples,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Cluster::of(3).await).await
    }

    async fn with(cluster: Cluster) -> Self {
        let samples = samples(ROWS);
        write_samples(&cluster.data().join(FILE), &samples);
        let path = parity("sgd").join("init.safetensors");
        let init_digest = cluster.client().upload(std::fs::read(&path).unwrap()).await.unwrap();
        Self { cluster, init: read_tensors(&path), init_digest, samples }
    }

    /// Runs the jobs; returns their specifications and final weights.
    async fn run(&self, mut jobs: Vec<JobFile>) -> Vec<(JobSpec, Tensors)> {
        let mut submitted = Vec::new();
        for job in &mut jobs {
            job.model.init = Some(self.init_digest.clone().into());
            submitted.push(self.cluster.client().submit(job).await);
        }
        let mut results = Vec::new();
        for (job, id) in jobs.iter().zip(submitted) {
            let spec = job.validate().unwrap();
            let history = self.cluster.client().finish(&id).await;
            assert!(!history.digest().is_empty(), "{}", described(&spec));
            results.push((spec, self.cluster.client().weights(&id).await.0));
        }
        results
    }

    /// Distance from the reference's weights, relative to the distance that the weights moved. The reference rounds beside
    /// what was seen of the run.
    fn error(&self, spec: &JobSpec, got: &Tensors, seen: Seen) -> f64 {
        relative_error(got, &reference::train_beside(spec, &self.init, &self.samples, seen), &self.init)
    }

    async fn agrees(&self, jobs: Vec<JobFile>) {
        for (spec, got) in self.run(jobs).await {
            let (what, error) = (described(&spec), self.error(&spec, &got, Seen::default()));
            assert!(error <= TOLERANCE, "{what}: off by {error:.1e} of the distance moved");
        }
    }
}

fn described(spec: &JobSpec) -> String {
    format!("{:?} {:?} {:?}", spec.optimizer, spec.train, spec.schedule)
}

/// All members of the family that a job file can ask for, with k = 3.
fn methods() -> Vec<String> {
    let ascents = ["ascent = 'sam'\nrho = 0.05", "ascent = 'asam'\nrho = 0.5\neta = 0.01"];
    let mut methods = vec!["method = 'sgd'".to_owned(), "method = 'rwp'\nrho = 0.5".to_owned()];
    for alpha in ["alpha = 0.5", "alpha = 'adaptive'"] {
        methods.push(format!("method = 'lookahead'\nk = 3\n{alpha}"));
        for ascent in ascents {
            methods.push(format!("method = 'lookahead_sam'\nk = 3\n{ascent}\n{alpha}"));
            let lookbehind = format!("method = 'lookbehind'\nk = 3\n{ascent}\n{alpha}");
            methods.push(lookbehind.clone());
            methods.push(format!("{lookbehind}\ngradients = 'reference'"));
            methods.push(format!("{lookbehind}\ngradients = 'reference'\nminibatch = 'switch'"));
        }
    }
    for ascent in ascents {
        methods.push(format!("method = 'sam'\n{ascent}"));
        methods.push(format!("method = 'multistep_sam'\nk = 3\n{ascent}"));
        methods.push(format!("method = 'multistep_sam'\nk = 3\n{ascent}\nminibatch = 'switch'"));
        methods.push(format!("method = 'multistep_sam'\nk = 3\n{ascent}\ndescent = 'mean'"));
    }
    methods
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_ends_where_the_reference_does() {
    let bench = Bench::new().await;
    bench.agrees(methods().iter().map(|method| text(EPOCHS, method, MOMENTUM, "")).collect()).await;
}

/// Five shards: those of a full batch are of unequal size, and the last batch has fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_whose_shards_climb_by_themselves_ends_where_the_reference_does() {
    let bench = Bench::new().await;
    let climbing = |method: &String| method.contains("ascent") && !method.contains("switch");
    let methods = methods().into_iter().filter(climbing);
    let jobs = methods.enumerate().map(|(number, method)| {
        let method = format!("{method}\nperturbation = 'shard'");
        let mut job = text(EPOCHS, &method, BASES[number % BASES.len()], "");
        job.train.shards = Some(5);
        job
    });
    bench.agrees(jobs.collect()).await;
}

/// Samples in a batch of gradients in bf16; the last one of an epoch has four.
const ROUNDED_BATCH: u64 = 48;

/// Sees the gradients of the shards that workers compute: batch, shard, and all gradients that are sent of it.
#[derive(Default)]
struct Witness(Mutex<Vec<(u64, u32, Vec<f32>)>>);

impl Script for Witness {
    fn after(&self, request: &Request, shard: u32, partial: &mut Partial) {
        if request.kind == RequestKind::Gradient {
            self.0.lock().unwrap().push((request.batch, shard, partial.gradient.to_vec()));
        }
    }
}

impl Witness {
    /// What was seen since the last call, for a model with these tensors.
    fn seen(&self, init: &Tensors, shards: u32) -> Seen {
        // A worker has the weight of a layer before its bias, the reference has names in their order.
        let mut order: Vec<(usize, &String)> = init.keys().enumerate().collect();
        order.sort_by_key(|(_, name)| name.replace("weight", "a_weight"));
        let mut seen = Seen::default();
        for (batch, shard, gradients) in self.0.lock().unwrap().drain(..) {
            let start = batch * ROUNDED_BATCH;
            let samples = ROUNDED_BATCH.min(ROWS as u64 - start);
            let range = shard_range(samples, effective_shards(samples, shards), shard);
            let of_shard =
                seen.entry(((start + range.start) as usize, (start + range.end) as usize)).or_default();
            let mut rest = gradients.iter().map(|&value| f64::from(value));
            for _ in 0..gradients.len() / init.values().map(|(_, values)| values.len()).sum::<usize>() {
                let mut tensors: Values = vec![Vec::new(); init.len()];
                for (place, name) in &order {
                    tensors[*place] = rest.by_ref().take(init[*name].1.len()).collect();
                }
                of_shard.push(tensors);
            }
        }
        seen
    }
}

/// Every method with both perturbations; the reference rounds in the same places, to the same format.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_whose_gradients_are_exchanged_in_bf16_ends_where_the_reference_does() {
    const SHARDS: u32 = 5;
    let witness = Arc::new(Witness::default());
    let mut cluster = Cluster::new().await;
    for name in ["w1", "w2", "w3"] {
        let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::clone(&witness) as _);
        cluster.add(name, backend).await;
    }
    let bench = Bench::with(cluster).await;
    let perturbations = |method: String| {
        let climbs = method.contains("ascent") && !method.contains("switch");
        let shard = climbs.then(|| format!("{method}\nperturbation = 'shard'"));
        [Some(method), shard].into_iter().flatten()
    };
    for (number, method) in methods().into_iter().flat_map(perturbations).enumerate() {
        let mut job = text(EPOCHS, &method, BASES[number % 2], "");
        job.train.batch_size = ROUNDED_BATCH;
        job.train.shards = Some(SHARDS);
        job.train.exchange = Some(ExchangeFormat::Bf16);
        // One by one, so that what is seen is of one job.
        let (spec, got) = bench.run(vec![job]).await.remove(0);
        let mut exact = spec.clone();
        exact.train.exchange = ExchangeFormat::F32;
        let error = bench.error(&spec, &got, witness.seen(&bench.init, SHARDS));
        let (what, of_exact) = (described(&spec), bench.error(&exact, &got, Seen::default()));
        assert!(error <= TOLERANCE, "{what}: off by {error:.1e} of the distance moved");
        assert!(
            of_exact > 100.0 * error,
            "{what}: off by {error:.1e}, and by {of_exact:.1e} from what is not rounded"
        );
    }
}

/// Every kind of group, for workers on which the shards climb and for those on which they do not; what is frozen has no
/// place in gradients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_with_parameter_groups_and_clipping_ends_where_the_reference_does() {
    let bench = Bench::new().await;
    let group = |pattern: &str| Group { tensors: vec![pattern.to_owned()], ..Group::default() };
    let perturbations = |method: String| {
        let climbs = method.contains("ascent") && !method.contains("switch");
        let shard = climbs.then(|| format!("{method}\nperturbation = 'shard'"));
        [Some(method), shard].into_iter().flatten()
    };
    let methods = methods().into_iter().flat_map(perturbations);
    let jobs = methods.enumerate().map(|(number, method)| {
        let mut job = text(EPOCHS, &method, BASES[number % 2], "");
        let ascent = method.contains("ascent").then_some(false);
        job.optimizer.groups = vec![
            Group { frozen: Some(number % 3 == 0), ..group("layers.0.weight") },
            Group { lr_factor: Some(0.5), weight_decay: Some(0.01), ..group("layers.1.*") },
            Group { ascent, ..group("layers.?.bias") },
        ];
        job.optimizer.base.decay_biases_and_norms = Some(number % 2 == 0);
        job.optimizer.clip_norm = Some(0.8);
        job
    });
    bench.agrees(jobs.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_base_optimizer_and_schedule_ends_where_the_reference_does() {
    let bench = Bench::new().await;
    let switching = "method = 'lookbehind'\nk = 3\ngradients = 'reference'\nminibatch = 'switch'";
    let schedules = [
        "kind = 'constant'\nwarmup = 2",
        "kind = 'multistep'\nmilestones = [1, 3]\ngamma = 0.2",
        "kind = 'cosine'\nmin_lr = 0.01",
        "kind = 'cosine'\nwarmup = 2\nwarmup_start = 0.2",
        "kind = 'cosine'\nunit = 'step'\nwarmup = 3",
        "kind = 'polynomial'\nmin_lr = 0.01\npower = 0.9",
        "kind = 'one_cycle'\nunit = 'step'\npct_start = 0.5",
    ];
    let mut jobs = Vec::new();
    for base in BASES {
        jobs.push(text(EPOCHS, "method = 'sgd'", base, ""));
        jobs.push(text(EPOCHS, "method = 'lookbehind'\nk = 3\nalpha = 'adaptive'", base, ""));
    }
    for schedule in schedules {
        for length in ["epochs = 4", "steps = 5"] {
            jobs.push(text(length, switching, MOMENTUM, schedule));
        }
    }
    let mut dropping = text("epochs = 4", switching, MOMENTUM, schedules[1]);
    dropping.data.drop_last = Some(true);
    jobs.push(dropping);
    bench.agrees(jobs).await;
}
