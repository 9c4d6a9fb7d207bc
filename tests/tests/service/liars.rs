//! Workers that lie on their control streams: no job waits for what they claim, and no other worker is excluded for longer
//! than they are there.

use std::time::Duration;

use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use lookbehind_proto::v1::session_response::Message as Answer;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello, whole};
use lookbehind_tests::jobs::on_workers;
use lookbehind_tests::toy;
use tokio::task::JoinSet;

/// Serves toy jobs, with heartbeats that claim progress. What it is asked for it computes only if it `delivers`.
async fn serve(mut worker: FakeWorker, delivers: bool) {
    let mut beats = tokio::time::interval(Duration::from_millis(50));
    let (mut sequence, mut job) = (0, String::new());
    loop {
        tokio::select! {
            message = worker.next() => match message {
                Some(Answer::Prepare(prepare)) => {
                    job = prepare.job_id;
                    worker.prepared(&job).await;
                }
                Some(Answer::SendInitialState(_)) if delivers => {
                    let header = worker.state_header(&job);
                    // It may be refused: another worker may have sent them.
                    let _ = worker.upload_state(header, whole(toy::initial(), &[])).await;
                }
                Some(Answer::Assign(assign)) if delivers => {
                    for segment in &assign.segments {
                        let (header, pieces) = worker.partial(&assign, *segment);
                        // It may not be wanted any more.
                        let _ = worker.upload_partial(header, pieces).await;
                    }
                }
                Some(_) => {}
                None => return,
            },
            _ = beats.tick() => {
                sequence += 1;
                worker.try_say(Message::Heartbeat(v1::Heartbeat { sequence, progress: sequence })).await;
            }
        }
    }
}

/// The digest of the toy job from one honest worker.
async fn expected() -> String {
    let cluster = Cluster::new().await;
    let honest = FakeWorker::register(cluster.client(), hello("honest")).await.unwrap();
    let _serving = serving([(honest, true)]);
    cluster.client().run(&toy::toy()).await.digest().to_owned()
}

fn serving<const N: usize>(workers: [(FakeWorker, bool); N]) -> JoinSet<()> {
    workers.into_iter().map(|(worker, delivers)| serve(worker, delivers)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_claims_progress_and_delivers_nothing_holds_up_no_job() {
    let cluster = Cluster::with_config(|config| config.failure_detection = Duration::from_millis(300)).await;
    let honest = FakeWorker::register(cluster.client(), hello("honest")).await.unwrap();
    let liar = FakeWorker::register(cluster.client(), hello("liar")).await.unwrap();
    let _serving = serving([(honest, true), (liar, false)]);
    let mut job = toy::toy();
    on_workers(&mut job, 2);
    let history = cluster.client().run(&job).await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    assert_eq!(history.digest(), expected().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_excluded_for_a_wrong_description_serves_the_job_when_its_author_is_gone() {
    let cluster = Cluster::with_config(|config| config.failure_detection = Duration::from_secs(60)).await;
    let mut wrong = FakeWorker::register(cluster.client(), hello("wrong")).await.unwrap();
    let id = cluster.client().submit(&toy::toy()).await;
    let job = wrong.prepare().await;
    let description = v1::JobDescription { data_fingerprint: vec![9; 32].into(), ..toy::description() };
    wrong.described(&job, description).await;
    wrong.asked_for_state().await;
    let mut watcher = cluster.client().watch(&id).await;
    let honest = FakeWorker::register(cluster.client(), hello("honest")).await.unwrap();
    let _serving = serving([(honest, true)]);
    watcher.until_said(&["honest", "refused"]).await;
    drop(wrong);
    let history = watcher.to_the_end().await;
    assert_eq!(history.state(), v1::JobState::Succeeded, "{}", history.message());
    assert_eq!(history.digest(), expected().await);
}
