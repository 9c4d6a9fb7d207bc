//! Uploaded files: quota, and when they go.

use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::files::{FileTensor, safetensors};
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::jobs::small_with;
use tonic::Code;

/// A model file of about two MiB with one value repeated.
fn file(value: f32) -> Vec<u8> {
    let values = vec![value; 1 << 19];
    safetensors(&[FileTensor::f32("weight", &[values.len()], &values)])
}

fn stored(cluster: &Cluster, digest: &str) -> bool {
    cluster.state().join("uploads").join(format!("{digest}.safetensors")).exists()
}

async fn gone(cluster: &Cluster, digest: &str) {
    within("the removal of an upload", async {
        while stored(cluster, digest) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_quota_for_uploads_and_gets_room_by_deleting_jobs() {
    let credentials = Credentials::new();
    let (coordinator, admin) = (credentials.folder("coordinator"), credentials.folder("admin"));
    let cluster = Cluster::guarded(&admin, |config| {
        config.credentials = Some(coordinator);
        config.max_upload_bytes = 20 << 20;
    })
    .await;
    let [alice, bob] = ["alice", "bob"].map(|name| client(cluster.url(), &credentials.folder(name)));
    let first = alice.upload(file(1.0)).await.expect("room for a file");
    alice.upload(file(2.0)).await.expect("room for a file");
    let refused = alice.upload(file(3.0)).await.expect_err("a quarter of 20 MiB is used");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    for words in ["uploaded files", "one user", "lookbehind delete"] {
        assert!(refused.message().contains(words), "{refused}");
    }
    bob.upload(file(3.0)).await.expect("bob's own share");

    let job = alice.submit(&small_with(|job| job.model.init = Some(first.clone().into()))).await;
    let (mut jobs, job_id) = (alice.jobs(), || job.clone());
    jobs.cancel_job(v1::CancelJobRequest { job_id: job_id() }).await.unwrap();
    assert!(stored(&cluster, &first), "a job that has ended keeps its file");
    jobs.delete_job(v1::DeleteJobRequest { job_id: job_id() }).await.unwrap();
    gone(&cluster, &first).await;
    alice.upload(file(3.0)).await.expect("the room of the file that went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_no_job_starts_from_goes_after_its_time() {
    let cluster = Cluster::with_config(|config| {
        config.failure_detection = Duration::from_secs(1);
        config.unused_upload = Duration::ZERO;
    })
    .await;
    let client = cluster.client();
    let used = Digest::of(&file(1.0)).to_string();
    let spec = wire::to_proto(&small_with(|job| job.model.init = Some(used.clone().into())));
    // The file may go before the job comes.
    let job = within("a job that starts from the file", async {
        loop {
            assert_eq!(client.upload(file(1.0)).await.unwrap(), used);
            if let Ok(job) = client.create(spec.clone()).await {
                break job.id;
            }
        }
    })
    .await;
    client.upload(file(1.0)).await.unwrap();
    let unused = client.upload(file(2.0)).await.unwrap();
    gone(&cluster, &unused).await;
    assert!(stored(&cluster, &used), "a job starts from it");
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: job.clone() }).await.unwrap();
    let unused = client.upload(file(2.0)).await.unwrap();
    gone(&cluster, &unused).await;
    assert!(stored(&cluster, &used), "a job has started from it");
    client.jobs().delete_job(v1::DeleteJobRequest { job_id: job }).await.unwrap();
    gone(&cluster, &used).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_gives_its_room_back() {
    use v1::upload_initial_weights_request::Part;
    let cluster = Cluster::with_config(|config| config.max_upload_bytes = 3 << 20).await;
    for _ in 0..5 {
        let header = Part::Header(v1::FileHeader { length: 2 << 20 });
        cluster.client().upload_parts(vec![header]).await.expect_err("no file");
    }
    // The room may come back after the answer.
    within("the room", async {
        while cluster.client().upload(file(1.0)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
