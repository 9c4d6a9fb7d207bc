//! What one user can take of what users share: not so much that another user, or an administrator, gets nothing.

use std::time::Duration;

use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_proto::v1::upload_initial_weights_request::Part;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use lookbehind_tests::guarded::{self, Credentials, client};
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_worker::registry::Registry;
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use super::connections::impatient;

/// Streams of events that one user may have.
const WATCHERS: usize = 250;
/// Downloads that one user may have.
const DOWNLOADS: usize = 16;

async fn watch(user: &Client, job_id: &str) -> Result<Streaming<v1::WatchJobResponse>, Status> {
    let request = v1::WatchJobRequest { job_id: job_id.to_owned(), ..Default::default() };
    user.jobs().watch_job(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_gets_a_quarter_of_the_watchers() {
    let (cluster, credentials) = guarded::cluster().await;
    let [alice, bob] = ["alice", "bob"].map(|name| client(cluster.url(), &credentials.folder(name)));
    let [of_alice, of_bob] = [alice.submit(&small()).await, bob.submit(&small()).await];
    let mut held = Vec::new();
    for _ in 0..WATCHERS {
        held.push(watch(&alice, &of_alice).await.expect("a place among alice's"));
    }
    let refused = watch(&alice, &of_alice).await.expect_err("all of alice's places are taken");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("watchers of one user: the limit of 250"), "{refused}");
    watch(&bob, &of_bob).await.expect("a place for bob");
    watch(cluster.client(), &of_alice).await.expect("a place for the administrator");
    assert_eq!(held.len(), WATCHERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_gets_a_quarter_of_the_uploads_and_loses_them_by_standing_still() {
    let credentials = Credentials::new();
    let cluster = impatient(&credentials).await;
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let mut uploads = JoinSet::new();
    for _ in 0..3 {
        let mut jobs = alice.jobs();
        uploads.spawn(async move {
            let header = Part::Header(v1::FileHeader { length: 1 << 20 });
            let header = v1::UploadInitialWeightsRequest { part: Some(header) };
            let parts = futures_util::stream::iter([header]);
            let parts = futures_util::StreamExt::chain(parts, futures_util::stream::pending());
            jobs.upload_initial_weights(parts).await.expect_err("an upload that is not completed")
        });
    }
    let ended = within("the end of one too many", uploads.join_next()).await;
    let refused = ended.expect("an upload").expect("no panic");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("uploads of one user: the limit of 2"), "{refused}");
    for name in ["bob", "admin"] {
        let other = client(cluster.url(), &credentials.folder(name));
        let status = other.upload(vec![0; 100]).await.expect_err("no model file");
        assert_eq!(status.code(), Code::InvalidArgument, "{name} was let in: {status}");
    }
    while let Some(ended) = within("the end of those that stand still", uploads.join_next()).await {
        let status = ended.expect("no panic");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    let status = alice.upload(vec![0; 100]).await.expect_err("no model file");
    assert_eq!(status.code(), Code::InvalidArgument, "alice has her places again: {status}");
}

/// A caller whose windows of HTTP/2 have room for nothing, so that no byte of an answer can leave for it.
fn closed_window(cluster: &Cluster, folder: &std::path::Path) -> Client {
    let access = Access::new(cluster.url(), Some(Folder::new(folder))).unwrap();
    Client::with_endpoint(&access, access.endpoint().initial_stream_window_size(0_u32))
}

async fn download(user: &Client, job_id: &str) -> Result<Streaming<v1::DownloadCheckpointResponse>, Status> {
    let request = v1::DownloadCheckpointRequest { job_id: job_id.to_owned(), outer_step: None, best: false };
    user.jobs().download_checkpoint(request).await.map(tonic::Response::into_inner)
}

/// A cluster with a job of alice's and one of bob's that have weights.
async fn trained(failure_detection: Duration) -> (Cluster, Credentials, [String; 2]) {
    let credentials = Credentials::new();
    let coordinator = credentials.folder("coordinator");
    let mut cluster = Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(coordinator);
        config.failure_detection = failure_detection;
    })
    .await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let mut ids = [String::new(), String::new()];
    for (id, name) in ids.iter_mut().zip(["alice", "bob"]) {
        let user = client(cluster.url(), &credentials.folder(name));
        *id = user.submit(&small()).await;
        user.finish(id).await;
    }
    (cluster, credentials, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_gets_a_quarter_of_the_downloads_also_of_small_files() {
    let (cluster, credentials, [of_alice, of_bob]) = trained(Duration::from_secs(60)).await;
    let alice = closed_window(&cluster, &credentials.folder("alice"));
    let mut held = Vec::new();
    for _ in 0..DOWNLOADS {
        held.push(download(&alice, &of_alice).await.expect("a place among alice's"));
    }
    let refused = download(&alice, &of_alice).await.expect_err("all of alice's places are taken");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("downloads of one user: the limit of 16"), "{refused}");
    let bob = client(cluster.url(), &credentials.folder("bob"));
    assert!(!bob.weights(&of_bob).await.0.is_empty(), "bob gets his weights");
    assert!(!cluster.client().weights(&of_alice).await.0.is_empty(), "the administrator gets alice's");
    assert_eq!(held.len(), DOWNLOADS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_end_with_their_connection() {
    let (cluster, credentials, [of_alice, _]) = trained(Duration::from_millis(500)).await;
    for _ in 0..2 {
        let alice = closed_window(&cluster, &credentials.folder("alice"));
        let mut downloads = Vec::new();
        let refused = loop {
            match download(&alice, &of_alice).await {
                Ok(stream) => downloads.push(stream),
                Err(refused) => break refused,
            }
        };
        assert!(refused.message().contains("downloads of one user: the limit of 16"), "{refused}");
        for mut stream in downloads {
            within("the end of a download", stream.message()).await.expect_err("no byte could leave");
        }
        let watcher = closed_window(&cluster, &credentials.folder("alice"));
        let mut events = watch(&watcher, &of_alice).await.unwrap();
        within("the end of a watch", events.message()).await.expect_err("no byte could leave");
        let caller = closed_window(&cluster, &credentials.folder("alice"));
        let list = || async { caller.jobs().list_jobs(v1::ListJobsRequest::default()).await };
        within("the end of a call", list()).await.expect_err("no byte could leave");
    }
    let alice = client(cluster.url(), &credentials.folder("alice"));
    assert!(!alice.weights(&of_alice).await.0.is_empty(), "alice has her places again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_take_no_more_memory_than_one_user_may_have() {
    /// Bytes of a specification.
    const BYTES: usize = 200_000;
    let (cluster, credentials) = guarded::cluster().await;
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let large = small_with(|job| {
        job.model.parameters.insert("text".into(), "x".repeat(BYTES).into());
    });
    let id = alice.submit(&large).await;
    // Over connections of their own, since each has a limit too.
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let unread = closed_window(&cluster, &credentials.folder("alice"));
        for _ in 0..40 {
            let (mut jobs, job_id) = (unread.jobs(), id.clone());
            calls.spawn(async move { jobs.get_job(v1::GetJobRequest { job_id }).await.map(drop) });
        }
    }
    let ended = within("a call that is refused", calls.join_next()).await;
    let refused = ended.expect("a call").expect("no panic").expect_err("no byte of an answer could leave");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(
        refused.message().contains("memory for requests and answers: the limit of 16777216"),
        "{refused}"
    );
    let bob = client(cluster.url(), &credentials.folder("bob"));
    bob.submit(&small()).await;
    assert_eq!(cluster.client().job(&id).await.id, id, "the administrator is served");
    calls.shutdown().await;
}

/// A cluster in which the workers with one certificate may have two sessions.
async fn with_two_sessions_each() -> (Cluster, Credentials) {
    let credentials = Credentials::new();
    let coordinator = credentials.folder("coordinator");
    let cluster = Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(coordinator);
        config.max_workers_per_identity = 2;
    })
    .await;
    (cluster, credentials)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_with_one_certificate_have_a_number_of_sessions_and_leave_others_theirs() {
    let (cluster, credentials) = with_two_sessions_each().await;
    let register = async |name: &str, folder: &str| {
        let client = client(cluster.url(), &credentials.folder(folder));
        FakeWorker::register(&client, hello(name)).await
    };
    let mut held = Vec::new();
    for name in ["one", "two"] {
        held.push(register(name, "worker").await.unwrap_or_else(|refused| panic!("{refused:?}")));
    }
    let Err(refused) = register("three", "worker").await else { panic!("a third session") };
    assert!(refused.retryable && refused.reason.contains("the limit of 2 is reached"), "{refused:?}");
    held.push(register("other", "other-worker").await.expect("a session of another identity"));
    assert_eq!(cluster.client().workers().await.len(), held.len());
    held.remove(0);
    within("the place of a session that has ended", async {
        while register("four", "worker").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_again_and_again_is_refused_for_a_while_and_others_are_not() {
    let (cluster, credentials) = with_two_sessions_each().await;
    let worker = client(cluster.url(), &credentials.folder("worker"));
    let refused = within("a registration that is refused", async {
        loop {
            if let Err(refused) = FakeWorker::register(&worker, hello("again")).await
                && refused.reason.contains("too often")
            {
                break refused;
            }
        }
    })
    .await;
    assert!(refused.retryable, "{refused:?}");
    let other = client(cluster.url(), &credentials.folder("other-worker"));
    FakeWorker::register(&other, hello("other")).await.expect("a session of another identity");
}
