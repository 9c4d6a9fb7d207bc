//! Workers that must not take part: each is refused by name, and the running job continues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{ComputeClasses, Precision};
use lookbehind_common::partial::Partial;
use lookbehind_proto::v1;
use lookbehind_tests::client::History;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::files::write_samples;
use lookbehind_tests::jobs::{SMALL, SMALL_ROWS, samples, small, small_with};
use lookbehind_tests::scripted::{HoldAt, Script, Scripted};
use lookbehind_tests::toy;
use lookbehind_worker::compute::{Backend, Request};
use lookbehind_worker::registry::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_version_or_protocol_or_without_a_usable_name_is_refused_for_good() {
    let cluster = Cluster::of(1).await;
    let good = hello("intruder");
    let refused = [
        (
            v1::Register { version: "0.0.0".into(), ..good.clone() },
            vec!["intruder", "0.0.0", env!("CARGO_PKG_VERSION")],
        ),
        (v1::Register { version: String::new(), ..good.clone() }, vec!["intruder", "version"]),
        (v1::Register { protocol: 99, ..good.clone() }, vec!["intruder", "protocol 99"]),
        (v1::Register { protocol: 0, ..good.clone() }, vec!["intruder", "protocol 0"]),
        (v1::Register { name: String::new(), ..good.clone() }, vec!["name"]),
        (v1::Register { name: "a\0b".into(), ..good.clone() }, vec!["name"]),
        (v1::Register { name: "x".repeat(1 << 20), ..good.clone() }, vec!["name"]),
        (v1::Register { device: "x".repeat(1 << 20), ..good.clone() }, vec!["device"]),
        (v1::Register { version: "x".repeat(1 << 20), ..good.clone() }, vec!["version"]),
    ];
    for (register, words) in refused {
        let Err(refusal) = FakeWorker::register(cluster.client(), register).await else {
            panic!("{words:?}: it was registered")
        };
        assert!(!refusal.retryable, "{}", refusal.reason);
        assert!(
            words.iter().all(|word| refusal.reason.contains(word)),
            "{}, expected {words:?}",
            refusal.reason
        );
        assert!(refusal.reason.len() < 1000, "a reason of {} bytes", refusal.reason.len());
    }
    assert_eq!(cluster.client().workers().await.len(), 1);
    cluster.still_works().await;
}

/// Runs the small job on a good worker, with another one that joins midway; returns the events.
async fn with_second(second: impl FnOnce(&Cluster) -> Arc<dyn Backend>) -> History {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(0, 3);
    let first = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("first", first).await;
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    let second = second(&cluster);
    cluster.add("second", second).await;
    watcher.until_said(&["second", "refused"]).await;
    gate.open();
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    assert_eq!(history.most_workers(), 1, "the refused worker took part");
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_other_data_is_refused_by_name_and_the_job_goes_on() {
    let other = tempfile::TempDir::new().unwrap();
    let mut changed = samples(SMALL_ROWS);
    changed.targets[0] = (changed.targets[0] + 1) % 10;
    write_samples(&other.path().join(SMALL), &changed);
    let history = with_second(|cluster| cluster.backend_on(Registry::builtin(), other.path())).await;
    assert!(history.said(&["second", "first", "data fingerprint"]), "{:?}", history.notices);

    write_samples(&other.path().join(SMALL), &samples(SMALL_ROWS - 1));
    let history = with_second(|cluster| cluster.backend_on(Registry::builtin(), other.path())).await;
    assert!(history.said(&["second", "first", "training samples: 197 and 196"]), "{:?}", history.notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lacks_the_data_is_refused_by_name_and_file_and_the_job_goes_on() {
    let empty = tempfile::TempDir::new().unwrap();
    let history = with_second(|cluster| cluster.backend_on(Registry::builtin(), empty.path())).await;
    assert!(history.said(&["second", SMALL, "not found"]), "{:?}", history.notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_compute_class_is_refused_with_both_classes_named() {
    let history =
        with_second(|cluster| Scripted::of_class(cluster.backend(Registry::builtin()), "an abacus")).await;
    let first = Cluster::new().await.backend(Registry::builtin()).class_description(Precision::F32);
    assert!(history.said(&["second", "an abacus", &first]), "{:?}", history.notices);
}

/// A machine that rounds differently, and counts the shards that it computed.
#[derive(Default)]
struct Rounding(AtomicU32);

impl Script for Rounding {
    fn probe(&self, _digest: Digest) -> Digest {
        Digest::of(b"rounds otherwise")
    }

    fn after(&self, _request: &Request, _shard: u32, partial: &mut Partial) {
        self.0.fetch_add(1, Ordering::Relaxed);
        partial.gradient.iter_mut().for_each(|number| *number *= 1.0 + 4.0 * f32::EPSILON);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_different_compute_classes_serve_a_job_together_that_allows_it() {
    let mut cluster = Cluster::new().await;
    let first = cluster.backend(Registry::builtin());
    cluster.add("first", first).await;
    let rounding = Arc::new(Rounding::default());
    let second = Scripted::new(cluster.backend(Registry::builtin()), Arc::clone(&rounding) as _);
    cluster.add("second", second).await;
    let mixed = small_with(|job| job.train.compute_classes = Some(ComputeClasses::Any));
    let history = cluster.client().run(&mixed).await;
    history.check_whole();
    assert!(rounding.0.load(Ordering::Relaxed) > 0, "the second worker computed nothing");
    assert!(!history.said(&["second", "refused"]), "{:?}", history.notices);
    assert_ne!(history.digest(), small_digest().await, "its rounding changed nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_every_worker_is_refused_for_fails_with_their_reasons() {
    let mut cluster = Cluster::new().await;
    let empty = tempfile::TempDir::new().unwrap();
    for name in ["one", "two"] {
        let backend = cluster.backend_on(Registry::builtin(), empty.path());
        cluster.add(name, backend).await;
    }
    let message = cluster.client().run_to_failure(&small()).await;
    for word in ["worker one", "worker two", SMALL] {
        assert!(message.contains(word), "expected {word:?} in {message:?}");
    }
    let good = cluster.backend(Registry::builtin());
    cluster.add("good", good).await;
    cluster.still_works().await;
}

/// Impossible descriptions, each with what is wrong with it.
fn hostile() -> Vec<(&'static str, v1::JobDescription)> {
    let with = |tensors: Vec<v1::TensorLayout>| v1::JobDescription { tensors, ..toy::description() };
    let unspecified = v1::TensorLayout { kind: 0, ..toy::tensor("x", &[1]) };
    let statistic = v1::TensorLayout { kind: v1::TensorKind::Statistic.into(), ..toy::tensor("x", &[1]) };
    let short = v1::JobDescription { data_fingerprint: vec![1; 31].into(), ..toy::description() };
    let talkative = v1::JobDescription { data_report: vec!["x".repeat(1 << 20)], ..toy::description() };
    vec![
        ("no tensors", with(Vec::new())),
        ("no parameters", with(vec![statistic])),
        ("a name with ..", with(vec![toy::tensor("../../x", &[1])])),
        ("a name with NUL", with(vec![toy::tensor("a\0b", &[1])])),
        ("a name of a megabyte", with(vec![toy::tensor(&"x".repeat(1 << 20), &[1])])),
        ("a name twice", with(vec![toy::tensor("x", &[1]), toy::tensor("x", &[1])])),
        ("no elements", with(vec![toy::tensor("x", &[3, 0])])),
        ("2^60 elements", with(vec![toy::tensor("x", &[1 << 60])])),
        ("elements beyond counting", with(vec![toy::tensor("x", &[u64::MAX, u64::MAX])])),
        ("no kind", with(vec![unspecified])),
        ("a short fingerprint", short),
        ("a data report of a megabyte", talkative),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_describes_what_cannot_be_is_given_up_and_the_next_one_serves_the_job() {
    for (what, description) in hostile() {
        let cluster = Cluster::new().await;
        let client = cluster.client();
        let mut hostile = FakeWorker::register(client, hello("hostile")).await.unwrap();
        let id = client.submit(&toy::toy()).await;
        hostile.prepare().await;
        hostile.described(&id, description).await;
        client.watch(&id).await.until_said(&["hostile", "lost"]).await;
        let mut honest = FakeWorker::register(client, hello("honest")).await.unwrap();
        let request = honest.start_toy().await;
        honest.finish_toy(request).await;
        assert_eq!(client.finish(&id).await.state(), v1::JobState::Succeeded, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_says_at_length_is_kept_short() {
    let cluster = Cluster::new().await;
    let mut worker = FakeWorker::register(cluster.client(), hello("talkative")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    worker.prepare().await;
    let (failure, reason) = (v1::PrepareFailure::Job.into(), "because ".repeat(1 << 17));
    let failed = v1::PrepareFailed { job_id: id.clone(), failure, reason };
    worker.say(v1::session_request::Message::PrepareFailed(failed)).await;
    let history = cluster.client().finish(&id).await;
    assert_eq!(history.state(), v1::JobState::Failed);
    assert!(history.message().contains("because because") && history.message().len() < 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_beyond_the_coordinators_memory_fails_the_job_before_any_is_taken() {
    let mut cluster = Cluster::with_config(|config| config.memory = 1 << 20).await;
    let mut worker = FakeWorker::register(cluster.client(), hello("large")).await.unwrap();
    for extent in [1 << 20, 1 << 39] {
        let id = cluster.client().submit(&toy::toy()).await;
        worker.prepare().await;
        let tensors = vec![toy::tensor("huge", &[extent])];
        worker.described(&id, v1::JobDescription { tensors, ..toy::description() }).await;
        let history = cluster.client().finish(&id).await;
        assert_eq!(history.state(), v1::JobState::Failed);
        for word in ["memory", "1048576"] {
            assert!(history.message().contains(word), "expected {word:?} in {:?}", history.message());
        }
        let released = worker.next().await;
        assert!(matches!(released, Some(v1::session_response::Message::Release(_))), "{released:?}");
    }
    drop(worker);
    let good = cluster.backend(Registry::builtin());
    cluster.add("good", good).await;
    cluster.still_works().await;
}
