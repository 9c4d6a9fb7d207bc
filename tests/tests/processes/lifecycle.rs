//! A job's life under the control of its user: queued, watched, cancelled, paused, resumed.

use lookbehind_proto::v1;
use lookbehind_tests::cluster::small_digest;

use lookbehind_tests::machines::{Machines, lines, long_digest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_job_succeeds_and_a_second_one_waits_for_its_turn() {
    let machines = Machines::new().await;
    let _workers = [machines.worker("a").await, machines.worker("b").await];
    let mut watching = machines.user("watching", &["--json", "submit", "long.toml", "--watch"]);
    let first = watching.printed("\"id\":\"").await;
    let first = first.split('"').next().unwrap().to_owned();
    machines.client.watch(&first).await.until_step(5).await;

    let second = machines.submit("small.toml").await;
    assert_eq!(machines.client.job(&second).await.state(), v1::JobState::Queued);
    assert_eq!(machines.client.job(&first).await.state(), v1::JobState::Running);
    assert_eq!(watching.exit().await, 0, "{}", watching.stderr());
    assert_eq!(lines(&watching).last().unwrap()["summary"]["digest"], long_digest().await);

    let (code, following) = machines.ask("following", &["watch", &second]).await;
    assert_eq!(code, 0, "{}", following.stderr());
    let (first, second) = (machines.client.finish(&first).await, machines.client.finish(&second).await);
    assert_eq!(second.digest(), small_digest().await);
    assert_eq!((first.most_workers(), second.most_workers()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_once_and_later_calls_answer_sensibly() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let running = machines.submit("long.toml").await;
    let queued = machines.submit("small.toml").await;
    let mut watching = machines.user("watching", &["watch", &running]);
    machines.client.watch(&running).await.until_step(5).await;
    for id in [&queued, &running] {
        let (code, user) = machines.ask("cancel", &["cancel", id]).await;
        assert_eq!(code, 0, "{}", user.stderr());
        let history = machines.client.finish(id).await;
        assert_eq!(history.state(), v1::JobState::Cancelled);
        let ended = |notice: &&v1::JobNotice| notice.state() == v1::JobState::Cancelled;
        assert_eq!(history.notices.iter().filter(ended).count(), 1);

        let before = machines.client.job(id).await;
        for (verb, expected) in [("cancel", 0), ("pause", 4), ("resume", 4)] {
            let (code, user) = machines.ask("later", &[verb, id]).await;
            assert_eq!(code, expected, "{verb}: {}", user.stderr());
            assert!((user.stdout() + &user.stderr()).contains("cancelled"), "{verb}: {}", user.stderr());
        }
        assert_eq!(machines.client.job(id).await, before);
    }
    assert_eq!(watching.exit().await, 1, "the exit code of watch says that the job was cancelled");
    let next = machines.submit("small.toml").await;
    assert_eq!(machines.client.finish(&next).await.digest(), small_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_goes_on_from_where_it_stopped_to_the_same_bytes() {
    let machines = Machines::new().await;
    let _workers = [machines.worker("a").await, machines.worker("b").await];
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    for outer_step in [50, 333] {
        watcher.until_step(outer_step).await;
        let (code, user) = machines.ask("pause", &["pause", &id]).await;
        assert_eq!(code, 0, "{}", user.stderr());
        let seen = watcher.until_state(v1::JobState::Paused).await;
        let paused_at = seen.notices.last().unwrap().outer_step;
        assert!(paused_at >= outer_step);
        assert_eq!(machines.checkpoints(&id).last(), Some(&paused_at), "no checkpoint of the pause");
        assert_eq!(machines.client.job(&id).await.outer_step, paused_at);
        let (_, digest) = machines.client.weights(&id).await;
        assert_eq!(seen.steps.last().unwrap().digest, digest, "the checkpoint is not the last step's");

        // Meanwhile its workers are free for other jobs.
        let other = machines.submit("small.toml").await;
        assert_eq!(machines.client.finish(&other).await.digest(), small_digest().await);
        let (code, user) = machines.ask("resume", &["resume", &id]).await;
        assert_eq!(code, 0, "{}", user.stderr());
    }
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), long_digest().await);
}
