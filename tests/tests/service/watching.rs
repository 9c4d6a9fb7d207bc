//! Watching: every event exactly once, whenever the watch begins.

use lookbehind_common::job::JobFile;
use lookbehind_common::job::MethodName;
use lookbehind_tests::client::History;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;

/// Outer steps of a job with more events than are sent to a watcher at a time.
const STEPS: u64 = 700;

fn long() -> JobFile {
    small_with(|job| {
        job.train.epochs = None;
        job.train.steps = Some(STEPS);
        job.checkpoint.every_steps = Some(100);
        job.optimizer = Default::default();
        job.optimizer.method = MethodName::Sgd;
    })
}

fn assert_same(left: &History, right: &History) {
    assert_eq!(left.notices, right.notices);
    assert_eq!(left.steps, right.steps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_every_event_once_live_or_late_or_from_a_cursor() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    let id = client.submit(&long()).await;
    let mut midway = client.watch(&id).await;
    let seen = midway.until_step(STEPS / 2).await;
    let (revision, outer_step) =
        (seen.notices.last().unwrap().revision, seen.steps.last().unwrap().outer_step);
    let live_rest = tokio::spawn(client.watch_after(&id, revision, outer_step).await.to_the_end());

    let live = midway.to_the_end().await;
    live.check_whole();
    let late = client.finish(&id).await;
    assert_same(&live, &late);

    let rest = History {
        notices: live.notices.iter().filter(|notice| notice.revision > revision).cloned().collect(),
        steps: live.steps.iter().filter(|step| step.outer_step > outer_step).cloned().collect(),
    };
    assert_same(&live_rest.await.unwrap(), &rest);
    assert_same(&client.watch_after(&id, revision, outer_step).await.to_the_end().await, &rest);

    let last = live.notices.last().unwrap().revision;
    for revision in [last, u64::MAX] {
        let nothing = client.watch_after(&id, revision, STEPS).await.to_the_end().await;
        assert_same(&nothing, &History::default());
        let steps = client.watch_after(&id, revision, 0).await.to_the_end().await;
        assert_same(&steps, &History { notices: Vec::new(), steps: live.steps.clone() });
    }
}
