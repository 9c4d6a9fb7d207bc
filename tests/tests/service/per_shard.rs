//! Jobs whose shards climb by themselves (`perturbation = "shard"`).

use std::sync::Arc;

use lookbehind_common::job::file::{AlphaValue, AscentName, GradientsName};
use lookbehind_common::job::{BatchStatistics, ExchangeFormat, JobFile, MethodName, Perturbation};
use lookbehind_common::partial::Partial;
use lookbehind_proto::v1;
use lookbehind_tests::client::History;
use lookbehind_tests::cluster::{Cluster, digest_on};
use lookbehind_tests::jobs::{SMALL_JOB, job, on_workers, small_with};
use lookbehind_tests::scripted::{HoldAt, Script, Scripted};
use lookbehind_worker::compute::Request;
use lookbehind_worker::registry::Registry;

fn per_shard(change: impl FnOnce(&mut JobFile)) -> JobFile {
    small_with(|job| {
        job.optimizer.perturbation = Some(Perturbation::Shard);
        change(job);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_four_workers_end_at_the_same_bytes() {
    let cluster = Cluster::of(4).await;
    let adaptive = |job: &mut JobFile| {
        job.optimizer.k = Some(3);
        job.optimizer.ascent = Some(AscentName::Asam);
        job.optimizer.alpha = Some(AlphaValue::Adaptive);
        job.train.shards = Some(5);
    };
    let taking_turns = |job: &mut JobFile| job.optimizer.method = MethodName::LookaheadSam;
    let several = |job: &mut JobFile| {
        job.optimizer.method = MethodName::MultistepSam;
        job.optimizer.alpha = None;
    };
    for job in [per_shard(|_| ()), per_shard(adaptive), per_shard(taking_turns), per_shard(several)] {
        let one = digest_on(&cluster, &job, 1).await;
        for workers in 2..=4 {
            assert_eq!(digest_on(&cluster, &job, workers).await, one, "{workers}: {:?}", job.optimizer);
        }
    }
}

/// All methods that can climb by shard, with different norms, factors and base optimizers.
fn family() -> Vec<JobFile> {
    let lines = [
        "method = 'sam'",
        "method = 'multistep_sam'\nk = 3\nascent = 'asam'",
        "method = 'lookahead_sam'\nk = 3\nalpha = 'adaptive'",
        "k = 3\nascent = 'asam'\nalpha = 'adaptive'",
        "k = 3\ngradients = 'reference'\nbatch_statistics = 'unperturbed'",
    ];
    let models = [
        "kind = 'mlp'\nhidden = [16]",
        "kind = 'sequential'\nlayers = [{ kind = 'linear', out_features = 16 }, \
         { kind = 'batch_norm' }, { kind = 'relu' }, { kind = 'linear' }]",
    ];
    let bases = ["kind = 'sgd'\nmomentum = 0.9\nnesterov = true\nweight_decay = 5e-4", "kind = 'adamw'"];
    let text = |(number, line): (usize, &&str)| {
        format!(
            "name = 'one shard'\n[model]\n{}\n[data]\nkind = 'safetensors'\ntrain = 'small.safetensors'\n\
             [train]\nepochs = 2\nbatch_size = 24\nshards = 1\n[optimizer]\n{line}\n[optimizer.base]\n{}\n",
            models[usize::from(number > 1)],
            bases[number % bases.len()]
        )
    };
    lines.iter().enumerate().map(|line| job(&text(line))).collect()
}

/// What a run says of its steps, apart from the norm of the gradient.
fn losses(history: &History) -> Vec<(f64, f64, f64)> {
    history.steps.iter().map(|step| (step.loss, step.last_loss, step.accuracy)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_comes_to_the_bytes_losses_and_norms_of_the_global_perturbation() {
    let cluster = Cluster::of(1).await;
    let formats = [ExchangeFormat::F32, ExchangeFormat::Bf16];
    for (mut job, exchange) in
        family().into_iter().flat_map(|job| formats.map(|format| (job.clone(), format)))
    {
        job.train.exchange = Some(exchange);
        let global = cluster.client().run(&job).await;
        let mut alone = job;
        alone.optimizer.perturbation = Some(Perturbation::Shard);
        let alone = cluster.client().run(&alone).await;
        assert_eq!(alone.digest(), global.digest());
        assert_eq!(losses(&alone), losses(&global));
        let norms = |history: &History| -> Vec<(Option<f64>, Option<f64>)> {
            history.steps.iter().map(|step| (step.gradient_norm, step.mean_shard_gradient_norm)).collect()
        };
        let swapped: Vec<_> = norms(&alone).into_iter().map(|(whole, mean)| (mean, whole)).collect();
        assert_eq!(swapped, norms(&global), "the norm is named by what it is of");
        assert!(global.steps.iter().all(|step| step.gradient_norm.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reference_gradients_end_at_the_bytes_of_reused_ones_and_other_shards_at_others() {
    let cluster = Cluster::of(1).await;
    let run = async |job: JobFile| cluster.client().run(&job).await.digest().to_owned();
    for (ascent, exchange) in
        [(AscentName::Sam, ExchangeFormat::F32), (AscentName::Asam, ExchangeFormat::Bf16)]
    {
        let with = |change: fn(&mut JobFile)| {
            per_shard(|job| {
                (job.optimizer.ascent, job.optimizer.k) = (Some(ascent), Some(3));
                job.train.exchange = Some(exchange);
                change(job);
            })
        };
        let reused = run(with(|_| ())).await;
        assert_eq!(run(with(|job| job.optimizer.gradients = Some(GradientsName::Reference))).await, reused);
        assert_ne!(run(with(|job| job.train.shards = Some(4))).await, reused);
        assert_ne!(run(with(|job| job.optimizer.perturbation = None)).await, reused);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_statistics_count_as_the_job_says() {
    let cluster = Cluster::of(2).await;
    let mut digests = Vec::new();
    for counted in [BatchStatistics::EveryPass, BatchStatistics::Unperturbed] {
        let mut job = family().swap_remove(3);
        job.optimizer.perturbation = Some(Perturbation::Shard);
        job.optimizer.batch_statistics = Some(counted);
        job.train.shards = Some(3);
        job.data.drop_last = Some(true);
        let digest = digest_on(&cluster, &job, 1).await;
        assert_eq!(digest_on(&cluster, &job, 2).await, digest);
        digests.push(digest);
    }
    assert_ne!(digests[0], digests[1]);
}

/// A job whose weights have so many blocks that workers exchange them with each other.
fn wide(workers: u32) -> JobFile {
    let text =
        SMALL_JOB.replace("hidden = [16]", "hidden = [1024, 1024]").replace("epochs = 2", "epochs = 1");
    let mut job = job(&text);
    job.optimizer.perturbation = Some(Perturbation::Shard);
    on_workers(&mut job, workers);
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_exchange_with_each_other_come_to_the_bytes_of_one() {
    let with_pages = |config: &mut lookbehind_coordinator::Config| {
        config.http = Some(([127, 0, 0, 1], 0).into());
    };
    let mut cluster = Cluster::with_config(with_pages).await;
    let add = async |cluster: &mut Cluster, name: &str| {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(name, backend).await;
    };
    add(&mut cluster, "w1").await;
    let alone = cluster.client().run(&wide(1)).await.digest().to_owned();
    add(&mut cluster, "w2").await;
    add(&mut cluster, "w3").await;
    let id = cluster.client().submit(&wide(3)).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_step(2).await;
    let exchanged = lookbehind_tests::http::get(cluster.http_addr().expect("pages"), "/metrics").await.text;
    let of_workers = "lookbehind_exchanges_total{way=\"workers\"}";
    assert!(lookbehind_tests::http::series(&exchanged, of_workers) > 0.0, "nothing was exchanged");
    // Within visits, whose partials the others have fetched or not.
    cluster.stop("w2").await.unwrap();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_that_leaves_and_one_that_joins_while_visits_are_open_change_no_byte() {
    for exchange in [ExchangeFormat::F32, ExchangeFormat::Bf16] {
        let job = per_shard(|job| job.train.exchange = Some(exchange));
        let mut cluster = Cluster::of(1).await;
        let alone = digest_on(&cluster, &job, 1).await;
        cluster.stop("w1").await.unwrap();
        let (gate, script) = HoldAt::new(1, 0);
        for name in ["staying", "leaving"] {
            let backend = Scripted::new(cluster.backend(Registry::builtin()), script.clone());
            cluster.add(name, backend).await;
        }
        let id = cluster.client().submit(&job).await;
        let mut watcher = cluster.client().watch(&id).await;
        gate.reached().await;
        cluster.stop("leaving").await.unwrap();
        watcher.until_said(&["leaving", "leaves"]).await;
        let backend = cluster.backend(Registry::builtin());
        cluster.add("joining", backend).await;
        watcher.until_said(&["joining", "takes part"]).await;
        gate.open();
        let history = watcher.to_the_end().await;
        history.check_whole();
        assert_eq!(history.digest(), alone);
    }
}

/// Sends the partial of one gradient in place of that of a visit.
struct Short;

impl Script for Short {
    fn after(&self, _request: &Request, _shard: u32, partial: &mut Partial) {
        partial.gradient = partial.gradient[..partial.gradient.len() / 2].to_vec().into();
        partial.sums.visits = None;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partials_of_single_gradients_are_refused_where_visits_are_asked_for() {
    let mut cluster = Cluster::new().await;
    let backend = Scripted::new(cluster.backend(Registry::builtin()), Arc::new(Short));
    cluster.add("short", backend).await;
    let message = cluster.client().run_to_failure(&per_shard(|_| ())).await;
    for word in ["elements in the gradient", "short"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_whose_gradient_is_not_finite_fails_the_job_by_shard_and_tensor() {
    let cluster = Cluster::of(1).await;
    // After an ascent this long, the activations of the last of so many layers overflow.
    let deep = SMALL_JOB.replace("hidden = [16]", &format!("hidden = {:?}", [16; 12]));
    let mut job = job(&deep.replace("rho = 0.05", "rho = 1e6"));
    job.optimizer.perturbation = Some(Perturbation::Shard);
    let message = cluster.client().run_to_failure(&job).await;
    for word in ["shard 0: gradient ", "layers.", "expected a finite number"] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
    assert_eq!(cluster.client().run(&per_shard(|_| ())).await.state(), v1::JobState::Succeeded);
}
