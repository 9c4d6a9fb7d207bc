//! What one user can take of what users share: not so much that another user, or an administrator, gets nothing.

use lookbehind_proto::v1;
use lookbehind_proto::v1::upload_initial_weights_request::Part;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::guarded::{self, Credentials, client};
use lookbehind_tests::jobs::small;
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use super::connections::impatient;

/// Streams of events that one user may have.
const WATCHERS: usize = 250;

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
