//! The loading of data ends with the job that it is for.

use std::sync::Mutex;

use lookbehind_proto::v1;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;
use lookbehind_worker::data::DataError;
use lookbehind_worker::registry::Registry;
use tokio::sync::mpsc;

/// A registry with a data set that never ends, and what it sends when its loading begins and when it ends.
fn endless() -> (Registry, mpsc::UnboundedReceiver<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sender = Mutex::new(sender);
    let registry = Registry::builtin().with_dataset("endless", move |_, environment| {
        sender.lock().unwrap().send("begins").unwrap();
        while !environment.cancellation.is_cancelled() {
            std::thread::yield_now();
        }
        sender.lock().unwrap().send("ends").unwrap();
        Err(DataError::Cancelled)
    });
    (registry, receiver)
}

/// A cluster whose worker loads the endless data set for a job.
async fn loading() -> (Cluster, String, mpsc::UnboundedReceiver<&'static str>) {
    let mut cluster = Cluster::new().await;
    let (registry, mut said) = endless();
    let backend = cluster.backend(registry);
    cluster.add("loads", backend).await;
    let job = small_with(|job| {
        job.data.kind = "endless".to_owned();
        job.data.parameters.clear();
    });
    let id = cluster.client().submit(&job).await;
    assert_eq!(within("loading", said.recv()).await, Some("begins"));
    (cluster, id, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_job_ends_its_loading_and_the_worker_takes_the_next_one() {
    let (cluster, id, mut said) = loading().await;
    cluster.client().jobs().cancel_job(v1::CancelJobRequest { job_id: id.clone() }).await.unwrap();
    assert_eq!(within("the end of loading", said.recv()).await, Some("ends"));
    let history = cluster.client().finish(&id).await;
    assert_eq!(history.state(), v1::JobState::Cancelled);
    assert!(!history.said(&["refused"]), "{:?}", history.notices);
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_stop_does_not_load_to_the_end() {
    let (mut cluster, _, mut said) = loading().await;
    cluster.stop("loads").await.unwrap();
    assert_eq!(within("the end of loading", said.recv()).await, Some("ends"));
}
