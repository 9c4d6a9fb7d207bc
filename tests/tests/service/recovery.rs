//! From which state and on which workers a job continues: compute classes, replayed steps, checkpoints that cannot be
//! written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::job::file::{BaseName, BaseSection};
use lookbehind_common::job::{Group, JobFile};
use lookbehind_common::partial::Partial;
use lookbehind_proto::v1;
use lookbehind_tests::client::{History, Watcher};
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{SMALL_JOB, job};
use lookbehind_tests::scripted::{Gate, HoldAt, Script, Scripted};
use lookbehind_worker::compute::Request;
use lookbehind_worker::registry::Registry;

/// Outer steps of the small job.
const STEPS: u64 = 18;

/// The small job with a checkpoint after every fourth outer step.
fn checkpointed(more: &str) -> JobFile {
    job(&format!("{SMALL_JOB}\n[checkpoint]\nevery_steps = 4\n{more}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_outer_steps_writes_checkpoints_by_time() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let endless = SMALL_JOB.replace("epochs = 2", "steps = 1_000_000_000");
    let id = client.submit(&job(&format!("{endless}\n[checkpoint]\nevery_minutes = 0.01\n"))).await;
    client.watch(&id).await.until_said(&["checkpoint of outer step"]).await;
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: id }).await.unwrap();
}

/// A job that is stopped before its sixth outer step on a worker `first`: five are recorded, four are in a checkpoint.
struct Held {
    cluster: Cluster,
    id: String,
    watcher: Watcher,
    gate: Arc<Gate>,
}

impl Held {
    async fn new(spec: &JobFile) -> Self {
        let mut cluster = Cluster::new().await;
        let (gate, script) = HoldAt::new(0, 5);
        let first = Scripted::new(cluster.backend(Registry::builtin()), script);
        cluster.add("first", first).await;
        let id = cluster.client().submit(spec).await;
        let mut watcher = cluster.client().watch(&id).await;
        watcher.until_step(5).await;
        gate.reached().await;
        Self { cluster, id, watcher, gate }
    }

    /// Pauses the job at its checkpoint, by removing its worker.
    async fn pause(&mut self) {
        let request = v1::PauseJobRequest { job_id: self.id.clone() };
        self.cluster.client().jobs().pause_job(request).await.unwrap();
        self.cluster.stop("first").await.unwrap();
        self.watcher.until_state(v1::JobState::Paused).await;
        self.gate.open();
    }

    async fn resume(&self, accept_class: bool) {
        let request = v1::ResumeJobRequest { job_id: self.id.clone(), accept_class };
        self.cluster.client().jobs().resume_job(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_workers_of_its_class_pauses_and_goes_on_in_another_when_its_owner_accepts_it() {
    let mut held = Held::new(&checkpointed("")).await;
    held.pause().await;
    let other = Scripted::of_class(held.cluster.backend(Registry::builtin()), "an abacus");
    held.cluster.add("second", other).await;
    held.resume(false).await;
    held.watcher.until_said(&["no worker of its compute class", "an abacus"]).await;
    assert_eq!(held.cluster.client().job(&held.id).await.state(), v1::JobState::Paused);
    held.resume(true).await;
    let history = held.watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
    assert!(history.said(&["gives up its compute class"]), "{:?}", history.notices);
    assert!(history.said(&["bound to the compute class of worker second", "an abacus"]));
    // Only the probe differs, so the weights are those of any other run.
    assert_eq!(history.digest(), small_digest().await);
    let classes: Vec<&str> = history.steps.iter().map(|step| step.compute_class.as_str()).collect();
    // Outer step 5 was reported when it was first done.
    assert!(classes[..5].iter().all(|class| *class == classes[0]), "{classes:?}");
    assert!(classes[5..].iter().all(|class| *class == classes[17] && *class != classes[0]), "{classes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_done_again_must_come_to_the_weights_that_were_recorded() {
    struct Off;
    impl Script for Off {
        fn after(&self, _: &Request, _: u32, partial: &mut Partial) {
            partial.gradient[0] += 1e-3;
        }
    }
    let mut held = Held::new(&checkpointed("")).await;
    held.pause().await;
    let off = Scripted::new(held.cluster.backend(Registry::builtin()), Arc::new(Off));
    held.cluster.add("off", off).await;
    held.resume(false).await;
    let history = held.watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Failed);
    for words in ["outer step 5 was done again", "were recorded"] {
        assert!(history.message().contains(words), "{}", history.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_are_done_again_are_told_once_and_come_to_the_same_weights() {
    let mut held = Held::new(&checkpointed("")).await;
    held.pause().await;
    let next = held.cluster.backend(Registry::builtin());
    held.cluster.add("next", next).await;
    held.resume(false).await;
    let history = held.watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
}

/// The momentum of frozen tensors is in checkpoints like that of all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_groups_clipping_and_lion_goes_on_to_the_same_weights() {
    let mut spec = checkpointed("");
    let group = |pattern: &str| Group { tensors: vec![pattern.to_owned()], ..Group::default() };
    spec.optimizer.groups = vec![
        Group { frozen: Some(true), ..group("layers.0.weight") },
        Group { lr_factor: Some(0.5), ascent: Some(false), ..group("*.bias") },
    ];
    spec.optimizer.clip_norm = Some(0.5);
    let betas = Some([0.8, 0.95]);
    spec.optimizer.base = BaseSection { kind: BaseName::Lion, betas, ..BaseSection::default() };
    let mut held = Held::new(&spec).await;
    held.pause().await;
    let next = held.cluster.backend(Registry::builtin());
    held.cluster.add("next", next).await;
    held.resume(false).await;
    let history = held.watcher.to_the_end().await;
    history.check_whole();
    let undisturbed = Cluster::of(1).await.client().run(&spec).await;
    assert_eq!(history.digest(), undisturbed.digest());
}

/// Places an obstacle at the path of the checkpoint after `outer_step` outer steps.
fn obstacle(held: &Held, outer_step: u64) -> PathBuf {
    let checkpoints = held.cluster.state().join("jobs").join(&held.id).join("checkpoints");
    let obstacle = checkpoints.join(format!(".step-{outer_step}.tmp"));
    std::fs::write(&obstacle, "in the way").unwrap();
    obstacle
}

async fn succeeded(watcher: Watcher) -> History {
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_cannot_be_written_is_told_and_the_job_trains_on() {
    let held = Held::new(&checkpointed("")).await;
    let obstacle = obstacle(&held, 8);
    held.gate.open();
    let history = succeeded(held.watcher).await;
    assert!(history.said(&["checkpoint of outer step 8 could not be written"]), "{:?}", history.notices);
    assert!(history.said(&["checkpoint of outer step 12"]));
    assert!(obstacle.is_file(), "nothing else was harmed");
}

/// Checks that the job pauses if the checkpoint after `outer_step` cannot be written, and succeeds once it can.
async fn pauses_and_succeeds(spec: &JobFile, outer_step: u64) {
    let mut held = Held::new(spec).await;
    let obstacle = obstacle(&held, outer_step);
    held.gate.open();
    let paused = held.watcher.until_state(v1::JobState::Paused).await;
    let said = format!("checkpoint of outer step {outer_step} could not be written");
    assert!(paused.said(&[&said]), "{:?}", paused.notices);
    std::fs::remove_file(obstacle).unwrap();
    held.resume(false).await;
    succeeded(held.watcher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_wants_it_so_pauses_at_a_checkpoint_that_cannot_be_written() {
    pauses_and_succeeds(&checkpointed("on_failure = \"pause\""), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_wants_it_so_fails_at_a_checkpoint_that_cannot_be_written() {
    let held = Held::new(&checkpointed("on_failure = \"fail\"")).await;
    obstacle(&held, 8);
    held.gate.open();
    let history = held.watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Failed);
    assert!(history.message().contains("outer step 8 could not be written"), "{}", history.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_last_checkpoint_cannot_be_written_pauses_and_succeeds_when_there_is_room() {
    pauses_and_succeeds(&checkpointed(""), STEPS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_is_gone_waits_for_the_next_although_another_was_refused() {
    let mut held = Held::new(&checkpointed("")).await;
    let other = Scripted::of_class(held.cluster.backend(Registry::builtin()), "an abacus");
    held.cluster.add("other", other).await;
    held.watcher.until_said(&["worker other refused", "an abacus"]).await;
    held.cluster.stop("first").await.unwrap();
    held.gate.open();
    held.watcher.until_said(&["no worker of its compute class is left"]).await;
    let next = held.cluster.backend(Registry::builtin());
    held.cluster.add("next", next).await;
    let history = succeeded(held.watcher).await;
    assert!(
        history.notices.iter().all(|notice| notice.state() != v1::JobState::Paused),
        "{:?}",
        history.notices
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_worker_is_given_up_when_its_request_stands_still_and_comes_back() {
    let mut cluster = Cluster::with_config(|config| config.failure_detection = Duration::from_secs(1)).await;
    let (gate, script) = HoldAt::new(0, 5);
    let stuck = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("stuck", stuck).await;
    let id = cluster.client().submit(&checkpointed("")).await;
    let mut watcher = cluster.client().watch(&id).await;
    watcher.until_said(&["stuck", "lost", "has delivered nothing"]).await;
    gate.open();
    succeeded(watcher).await;
}
