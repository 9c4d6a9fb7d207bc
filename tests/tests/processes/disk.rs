//! Disks that fill up or cannot be written.

use std::time::Duration;

use lookbehind_common::job::JobFile;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{History, within};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{job, long_job};
use lookbehind_tests::process::Process;
use lookbehind_tests::proxy::Proxy;
use rustix::process::Signal;
use tokio::sync::OnceCell;
use tonic::Code;

use lookbehind_tests::http::{get, series};
use lookbehind_tests::machines::{Machines, ends_like_an_undisturbed_run};
use lookbehind_tests::volume::Volume;

/// Space for the database, a job's journal and some checkpoints.
const ROOM: &str = "16m";

/// Space that is left on a full disk: enough for some of the journal, too little for a checkpoint.
const LEFT: u64 = 64 << 10;
/// Number of outer steps of the job whose disk fills up.
const STEPS: u64 = 600;

/// The long job with more weights, fewer outer steps and more checkpoints.
fn heavier() -> JobFile {
    let text = long_job().replace("hidden = [16]", "hidden = [256]");
    job(&text
        .replace("steps = 1000", &format!("steps = {STEPS}"))
        .replace("every_steps = 100", "every_steps = 50"))
}

/// Digest of the heavier job's final weights, from one undisturbed worker.
async fn heavier_digest() -> &'static str {
    static DIGEST: OnceCell<String> = OnceCell::const_new();
    let compute = || async { Cluster::of(1).await.client().run(&heavier()).await.digest().to_owned() };
    DIGEST.get_or_init(compute).await
}

/// A coordinator whose disk is full while the heavier job runs on it, with two workers connected through a proxy.
struct FullDisk {
    machines: Machines,
    proxy: Proxy,
    _workers: [Process; 2],
    id: String,
    /// The newest checkpoint before the disk was full.
    checkpoint: u64,
}

impl FullDisk {
    /// Fills the disk in the middle of a run and waits until a checkpoint has failed because of it, with an error
    /// message.
    async fn new() -> Self {
        let mut machines = Machines::on_volume(Volume::new(ROOM).await).await;
        let proxy = Proxy::new(&machines.url).await;
        let workers = ["a", "b"].map(|name| machines.worker_at(&proxy.url(), name));
        machines.registered("a").await;
        machines.registered("b").await;
        let id = machines.client.submit(&heavier()).await;
        machines.client.watch(&id).await.until_said(&["checkpoint of outer step 100"]).await;
        let checkpoint = *machines.checkpoints(&id).last().unwrap();
        machines.volume().fill_but(LEFT);
        let failed = machines.coordinator.logged("checkpoint failed").await;
        // Delayed traffic keeps the job from ending.
        proxy.delay(Duration::from_millis(2));
        assert!(failed.contains("could not be written") && failed.contains("No space left"), "{failed}");
        Self { machines, proxy, _workers: workers, id, checkpoint }
    }

    /// Number of shards that the workers have computed.
    async fn shards_done(&self) -> u64 {
        self.machines.client.workers().await.iter().map(|worker| worker.shards_done).sum()
    }

    /// Waits until the workers have computed a few more batches.
    async fn trains_on(&self) {
        let before = self.shards_done().await;
        within("the training to go on", async {
            while self.shards_done().await < before + 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Checkpoints that were begun and never renamed to their final name.
    fn half_written(&self) -> Vec<String> {
        let folder = self.machines.volume().path(&format!("state/jobs/{}/checkpoints", self.id));
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string());
        names.map(Result::unwrap).filter(|name| name.ends_with(".tmp")).collect()
    }

    /// Frees the disk and removes the delay of the workers.
    fn free(&self) {
        self.machines.volume().free();
        self.proxy.delay(Duration::ZERO);
    }

    /// Checks that the job was seen from its first to its last step, and has the weights of an undisturbed run.
    async fn ends_like_an_undisturbed_run(&self) -> History {
        let history = self.machines.client.finish(&self.id).await;
        assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
        history.check_whole();
        assert_eq!(history.digest(), heavier_digest().await);
        assert_eq!(self.machines.checkpoints(&self.id).last(), Some(&STEPS));
        history
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_finds_no_room_says_so_and_the_training_goes_on() {
    let disk = FullDisk::new().await;
    let mut watching = disk.machines.user("watching", &["watch", &disk.id]);
    watching.logged("could not be written: ").await;
    disk.trains_on().await;
    let kept = disk.machines.checkpoints(&disk.id);
    assert!(kept.contains(&disk.checkpoint), "expected {} among {kept:?}", disk.checkpoint);
    disk.free();
    let history = disk.ends_like_an_undisturbed_run().await;
    assert_eq!(disk.half_written(), Vec::<String>::new());
    assert!(history.said(&["could not be written", "No space left"]), "{:?}", history.notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_killed_on_a_full_disk_goes_on_from_the_checkpoint_before() {
    let mut disk = FullDisk::new().await;
    let checkpoint = *disk.machines.checkpoints(&disk.id).last().unwrap();
    disk.machines.coordinator.signal(Signal::KILL);
    disk.machines.coordinator.ended().await;
    disk.free();
    disk.machines.restart().await;
    let from = format!("from outer step {checkpoint}");
    disk.machines.client.watch(&disk.id).await.until_said(&[&from]).await;
    disk.ends_like_an_undisturbed_run().await;
}

/// A job whose weights take more than a megabyte, with its policy for failed checkpoints.
fn large(on_failure: &str) -> JobFile {
    let text = long_job().replace("hidden = [16]", "hidden = [4096]").replace("steps = 1000", "steps = 2");
    job(&format!("{text}on_failure = {on_failure:?}\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_finds_no_room_for_its_first_checkpoint_says_so() {
    let machines = Machines::on_volume(Volume::new(ROOM).await).await;
    let _worker = machines.worker("a").await;
    machines.volume().fill_but(1 << 20);
    let waits = machines.client.submit(&large("continue")).await;
    let ends = machines.client.submit(&large("fail")).await;
    let mut watcher = machines.client.watch(&waits).await;
    let paused = watcher.until_state(v1::JobState::Paused).await.clone();
    let failed = machines.client.finish(&ends).await;
    assert_eq!(failed.state(), v1::JobState::Failed);
    for words in ["checkpoint of outer step 0", "No space left", "checkpoints"] {
        assert!(paused.message().contains(words), "expected {words:?} in {:?}", paused.message());
        assert!(failed.message().contains(words), "expected {words:?} in {:?}", failed.message());
    }
    assert!(!failed.message().contains("not a usable"), "{}", failed.message());

    machines.volume().free();
    let (code, user) = machines.ask("resume", &["resume", &waits]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_stored_is_refused_and_those_before_it_are_kept() {
    let mut machines = Machines::on_volume(Volume::new(ROOM).await).await;
    machines.volume().fill();
    // The database has some free space of its own, which a few long specifications use up.
    let hidden = format!("hidden = [16{}]", ", 16".repeat(5000));
    let spec = wire::to_proto(&job(&long_job().replace("hidden = [16]", &hidden)));
    let mut stored = Vec::new();
    let refused = loop {
        match machines.client.create(spec.clone()).await {
            Ok(job) => stored.push(job.id),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("No space left"), "{refused}");

    machines.coordinator.signal(Signal::KILL);
    machines.coordinator.ended().await;
    machines.volume().free();
    machines.restart().await;
    let listed = machines.client.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap();
    let mut listed: Vec<String> = listed.into_inner().jobs.into_iter().map(|job| job.id).collect();
    listed.reverse();
    assert_eq!(listed, stored, "what was acknowledged, and nothing else");
}

/// Checks that a call that would change something is refused because the disk is full.
async fn is_refused(machines: &Machines, args: &[&str]) {
    let (code, user) = machines.ask("refused", args).await;
    assert_eq!(code, 4, "{args:?}: {}", user.stderr());
    for words in ["the coordinator's disk is full: ", "nothing was changed"] {
        assert!(user.stderr().contains(words), "{args:?}: expected {words:?} in {}", user.stderr());
    }
}

/// Whether the pages tell that the coordinator is in the mode in which nothing can be stored.
async fn is_degraded(machines: &Machines) -> bool {
    let metrics = get(machines.pages, "/metrics").await.text;
    let degraded = series(&metrics, "lookbehind_degraded{mode=\"storage\"}") == 1.0;
    let ready = get(machines.pages, "/readyz").await;
    assert_eq!((ready.status == 503), degraded, "{ready:?}");
    let overview: serde_json::Value =
        serde_json::from_str(&get(machines.pages, "/api/overview").await.text).unwrap();
    assert_eq!(overview["degraded"][0]["mode"] == "storage", degraded, "{overview}");
    degraded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_once_everywhere_and_what_is_refused_meanwhile_takes_no_effect_later() {
    let machines = Machines::on_volume(Volume::new(ROOM).await).await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(20).await;
    assert!(!is_degraded(&machines).await);
    machines.volume().fill();
    watcher.until_said(&["training waits", "the coordinator's disk is full"]).await;
    assert!(is_degraded(&machines).await);

    is_refused(&machines, &["submit", "small.toml"]).await;
    is_refused(&machines, &["cancel", &id]).await;
    for reads in [&["jobs"][..], &["job", &id]] {
        let (code, user) = machines.ask("reads", reads).await;
        assert_eq!((code, user.stdout().contains(&id)), (0, true), "{}", user.stderr());
    }

    machines.volume().free();
    watcher.until_said(&["training goes on"]).await;
    assert!(!is_degraded(&machines).await);
    ends_like_an_undisturbed_run(&machines, &id).await;
    let jobs =
        machines.client.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    let listed: Vec<(&str, v1::JobState)> = jobs.iter().map(|job| (job.id.as_str(), job.state())).collect();
    assert_eq!(listed, [(id.as_str(), v1::JobState::Succeeded)], "what was refused took no effect");
    let log = machines.coordinator.stderr();
    assert_eq!(log.matches("degraded mode mode=").count(), 1, "{log}");
}

/// Bytes that the files of a coordinator may have whose disk fails: its log fits, its state does not.
const TOO_LITTLE: u64 = 16 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_altogether_is_told_everywhere_and_the_training_goes_on_when_it_works_again() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(20).await;
    let mut watching = machines.user("watching", &["watch", &id]);
    machines.coordinator.limit_files(Some(TOO_LITTLE));
    let wait = watching.logged("waits for the disk: ").await;
    for words in ["the coordinator's state cannot be stored: ", "File too large"] {
        assert!(wait.contains(words), "expected {words:?} in {wait}");
    }
    assert!(is_degraded(&machines).await);
    let (code, user) = machines.ask("refused", &["submit", "small.toml"]).await;
    assert_eq!(code, 4, "{}", user.stderr());
    assert!(user.stderr().contains("nothing was changed"), "{}", user.stderr());

    machines.coordinator.limit_files(None);
    ends_like_an_undisturbed_run(&machines, &id).await;
    assert!(!is_degraded(&machines).await);
    let log = machines.coordinator.stderr();
    assert_eq!(log.matches("degraded mode mode=").count(), 1, "{log}");
    assert_eq!(watching.exit().await, 0, "{}", watching.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_told_to_end_on_a_full_disk_ends_and_goes_on_from_its_checkpoint() {
    let mut machines = Machines::on_volume(Volume::new(ROOM).await).await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_said(&["checkpoint of outer step 100"]).await;
    machines.volume().fill();
    watcher.until_said(&["training waits"]).await;
    machines.coordinator.signal(Signal::TERM);
    assert_eq!(machines.coordinator.exit().await, 0, "{}", machines.coordinator.stderr());
    machines.volume().free();
    machines.restart().await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_that_cannot_be_written_is_refused_by_its_name() {
    let mut machines = Machines::on_volume(Volume::new(ROOM).await).await;
    machines.coordinator.signal(Signal::TERM);
    assert_eq!(machines.coordinator.exit().await, 0);
    machines.volume().make_read_only().await;
    let refused = machines.start_in_vain().await;
    for words in [&machines.volume().state(), "Read-only file system"] {
        assert!(refused.contains(words), "expected {words:?} in {refused}");
    }
}
