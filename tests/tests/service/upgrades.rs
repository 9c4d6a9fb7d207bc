//! Upgrades: workers of another version are turned away with a sentence, a job that is running waits until one of the right
//! version comes, and the state of an earlier build is opened.

use std::path::Path;

use lookbehind_proto::v1;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::jobs::{SMALL_JOB, job};
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::registry::Registry;
use tempfile::TempDir;

/// What a worker of another build says of itself, and the word that the refusal must have.
fn others() -> [(v1::Register, String); 3] {
    let own = hello("other");
    let protocol = |protocol: u32| {
        let said = format!("speaks protocol {protocol}, the coordinator {}", own.protocol);
        (v1::Register { protocol, ..own.clone() }, said)
    };
    let version = format!("has version 0.0.0, the coordinator {}", own.version);
    [
        protocol(own.protocol - 1),
        protocol(own.protocol + 1),
        (v1::Register { version: "0.0.0".into(), ..own.clone() }, version),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_waits_for_workers_of_the_right_version_and_goes_on_with_the_same_weights() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(0, 5);
    let first = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("first", first).await;
    let spec = job(&format!("{SMALL_JOB}\n[checkpoint]\nevery_steps = 4\n"));
    let id = cluster.client().submit(&spec).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_step(5).await;
    gate.reached().await;
    cluster.stop("first").await.unwrap();
    gate.open();
    watcher.until_said(&["no worker is left"]).await;
    for (register, said) in others() {
        let Err(refusal) = FakeWorker::register(cluster.client(), register).await else {
            panic!("{said}: it was registered")
        };
        assert!(!refusal.retryable && refusal.reason.contains(&said), "{}, expected {said}", refusal.reason);
    }
    assert_eq!(cluster.client().job(&id).await.state(), v1::JobState::Running, "it waits");
    let right = cluster.backend(Registry::builtin());
    cluster.add("right", right).await;
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
}

/// A copy of the state folder that an earlier build has written.
fn earlier_state() -> TempDir {
    let folder = TempDir::with_prefix("lookbehind-state-").unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/state/0.1.0");
    copy_folder(Path::new(fixture), folder.path());
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), &target).unwrap()),
        }
    }
}

/// Name and state of a job.
fn shown(job: &v1::Job) -> (&str, v1::JobState) {
    (&job.spec.as_ref().unwrap().name, job.state())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_an_earlier_build_is_opened_and_its_jobs_are_shown_fetched_run_and_resumed() {
    let state = earlier_state();
    let path = state.path().to_owned();
    let mut cluster = Cluster::with_config(|config| config.state = path).await;
    let client = cluster.client().clone();
    let jobs = client.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    let expected = [
        ("queued", v1::JobState::Queued),
        ("paused", v1::JobState::Paused),
        ("queued", v1::JobState::Cancelled),
        ("kept", v1::JobState::Succeeded),
    ];
    assert_eq!(jobs.iter().map(shown).collect::<Vec<_>>(), expected);
    let [queued, paused, _, kept] = jobs.as_slice() else { panic!("{jobs:?}") };
    let history = client.finish(&kept.id).await;
    history.check_whole();
    assert_eq!((history.steps.len(), history.digest()), (6, kept.digest.as_str()));
    assert_eq!(client.weights(&kept.id).await.1, kept.digest);

    for name in ["a", "b", "c"] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add(name, backend).await;
    }
    let first = client.finish(&queued.id).await;
    let again = client.create(queued.spec.clone().unwrap()).await.unwrap();
    assert_eq!(first.digest(), client.finish(&again.id).await.digest(), "as if it were new");

    // It began on a machine that may be of another class than this one.
    let request = v1::ResumeJobRequest { job_id: paused.id.clone(), accept_class: true };
    client.jobs().resume_job(request).await.unwrap();
    client.watch(&paused.id).await.until_step(paused.outer_step + 2).await;
}
