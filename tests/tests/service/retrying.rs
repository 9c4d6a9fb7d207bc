//! Jobs that have failed or were cancelled go on from their newest checkpoint, to the same weights.

use lookbehind_proto::v1;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::small_with;
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::registry::Registry;
use tonic::{Code, Status};

async fn retry(client: &Client, id: &str) -> Result<v1::Job, Status> {
    let answer = client.jobs().retry_job(v1::RetryJobRequest { job_id: id.to_owned() }).await?;
    Ok(answer.into_inner().job.expect("the job"))
}

async fn checkpoints(client: &Client, id: &str) -> Vec<v1::Checkpoint> {
    let request = v1::ListCheckpointsRequest { job_id: id.to_owned() };
    client.jobs().list_checkpoints(request).await.expect("checkpoints").into_inner().checkpoints
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_that_is_retried_goes_on_from_its_checkpoint_to_the_same_weights() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(0, 5);
    let worker = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("worker", worker).await;
    let client = cluster.client();
    let id = client.submit(&small_with(|job| job.checkpoint.every_steps = Some(4))).await;
    client.watch(&id).await.until_said(&["checkpoint of outer step 4"]).await;
    gate.reached().await;
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await.expect("a cancelled job");
    gate.open();
    let retried = retry(client, &id).await.expect("a queued job");
    assert!(!retried.state().as_str_name().contains("CANCELLED"), "{retried:?}");
    // From the first event on: past the notice of its first end.
    let history = client.finish(&id).await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
    assert!(
        history.said(&["cancelled"]) && history.said(&["retried", "outer step 4"]),
        "{:?}",
        history.notices
    );
    assert!(history.said(&["goes on from outer step 4; outer steps up to 5 are done again"]));
    assert_eq!(retry(client, &id).await.expect_err("it has succeeded").code(), Code::FailedPrecondition);
    let job = client.job(&id).await;
    assert_eq!((job.state(), job.repeats_until), (v1::JobState::Succeeded, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoints_that_there_are_can_be_listed_and_fetched() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let spec = small_with(|job| {
        job.checkpoint.every_steps = Some(4);
        job.checkpoint.keep = Some(3);
    });
    let id = client.submit(&spec).await;
    let digest = client.finish(&id).await.digest().to_owned();
    let listed = checkpoints(client, &id).await;
    let found: Vec<_> = listed.iter().map(|checkpoint| (checkpoint.outer_step, checkpoint.epoch)).collect();
    assert_eq!(found, [(18, 2), (16, 1), (12, 1)]);
    assert_eq!(listed[0].digest, digest);
    assert!(listed.iter().all(|checkpoint| checkpoint.bytes > 0 && checkpoint.written_at.is_some()));
    for checkpoint in listed {
        let request = v1::DownloadCheckpointRequest {
            job_id: id.clone(),
            outer_step: Some(checkpoint.outer_step),
            best: false,
        };
        client.jobs().download_checkpoint(request).await.expect("a listed checkpoint");
    }
}
