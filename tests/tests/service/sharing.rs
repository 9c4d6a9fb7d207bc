//! Jobs of several priorities: one makes way for another, and goes on to the same weights.

use lookbehind_proto::v1;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::jobs::{job, long_job, small_with};
use lookbehind_tests::machines::long_digest;
use lookbehind_worker::registry::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_made_way_for_another_goes_on_from_its_outer_step_to_the_same_weights() {
    let mut cluster = Cluster::with_config(|config| config.sharing.preempt = true).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("worker", backend).await;
    let client = cluster.client();
    let low = client.submit(&job(&long_job())).await;
    let mut watcher = client.watch(&low).await;
    watcher.until_step(50).await;
    let high = client.submit(&small_with(|job| job.resources.priority = Some(1))).await;
    watcher.until_state(v1::JobState::Queued).await;
    let seen = watcher.until_said(&["it has made way for a job of a higher priority"]).await;
    assert!(seen.said(&[&format!("it makes way for job {high}, whose priority is 1")]), "{:?}", seen.notices);
    assert_eq!(client.finish(&high).await.digest(), small_digest().await);
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    history.check_whole();
    assert_eq!(history.digest(), long_digest().await);
}
