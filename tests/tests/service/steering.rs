//! Pauses and resumes that coincide with other events: what was acknowledged last holds.

use std::time::Duration;

use lookbehind_proto::v1;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{small, small_with};
use lookbehind_tests::scripted::{HoldAt, Scripted};
use lookbehind_worker::registry::Registry;

async fn pause(client: &Client, id: &str) -> v1::Job {
    let request = v1::PauseJobRequest { job_id: id.to_owned() };
    client.jobs().pause_job(request).await.unwrap().into_inner().job.unwrap()
}

async fn resume(client: &Client, id: &str) -> v1::Job {
    let request = v1::ResumeJobRequest { job_id: id.to_owned(), accept_class: false };
    client.jobs().resume_job(request).await.unwrap().into_inner().job.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_is_not_undone_by_the_pause_before_it() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let long = small_with(|job| {
        job.train.epochs = None;
        job.train.steps = Some(2000);
    });
    let id = client.submit(&long).await;
    let mut watcher = client.watch(&id).await;
    for round in 0..40 {
        // The pause may be anywhere by then: in its outer step, at its checkpoint, or done.
        watcher.until_step(5 * round + 1).await;
        pause(client, &id).await;
        tokio::time::sleep(Duration::from_millis(round % 12)).await;
        resume(client, &id).await;
    }
    let goes_on = watcher.until_step(300).await;
    assert!(goes_on.steps.len() >= 300);
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: id }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_takes_effect_at_once_where_no_worker_is_left_to_finish_the_outer_step() {
    let mut cluster = Cluster::new().await;
    let (gate, script) = HoldAt::new(0, 5);
    let backend = Scripted::new(cluster.backend(Registry::builtin()), script);
    cluster.add("held", backend).await;
    let id = cluster.client().submit(&small()).await;
    let mut watcher = cluster.client().watch(&id).await;
    gate.reached().await;
    let asked = pause(cluster.client(), &id).await;
    assert_eq!(asked.state(), v1::JobState::Running, "its outer step is to be finished first");
    cluster.stop("held").await.unwrap();
    watcher.until_state(v1::JobState::Paused).await;
    gate.open();
    let next = cluster.backend(Registry::builtin());
    cluster.add("next", next).await;
    resume(cluster.client(), &id).await;
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), small_digest().await);
}
