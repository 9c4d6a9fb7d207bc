//! Two runs compared, on disk and on the coordinator.

use lookbehind_tests::jobs::SMALL_JOB;
use lookbehind_tests::machines::Machines;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_no_difference_between_runs_of_one_job_and_the_first_one_between_others() {
    let machines = Machines::new().await;
    let _first = machines.worker("a").await;
    let (code, user) = machines.ask("one", &["submit", "small.toml", "--watch", "--out", "one"]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    let _second = machines.worker("b").await;
    let id = machines.submit("small.toml").await;
    machines.client.finish(&id).await;
    std::fs::write(machines.path("other.toml"), SMALL_JOB.replace("seed = 3", "seed = 4")).unwrap();
    let (code, user) = machines.ask("other", &["submit", "other.toml", "--watch", "--out", "other"]).await;
    assert_eq!(code, 0, "{}", user.stderr());

    let (code, audit) = machines.ask("same", &["audit", "one", &id]).await;
    assert_eq!(code, 0, "{}", audit.stderr());
    assert!(audit.stdout().contains("the same in all 18 outer steps"), "{}", audit.stdout());
    let (code, audit) = machines.ask("differ", &["audit", "one/metrics.jsonl", "other"]).await;
    assert_eq!(code, 7, "{}", audit.stderr());
    for words in ["differ from outer step 1 on: ", "weights: "] {
        assert!(audit.stderr().contains(words), "{}", audit.stderr());
    }

    let metrics = std::fs::read_to_string(machines.path("one/metrics.jsonl")).unwrap();
    let moved = metrics.replace("\"first_sample\":72,", "\"first_sample\":73,");
    assert_ne!(metrics, moved);
    std::fs::write(machines.path("moved.jsonl"), moved).unwrap();
    let (code, audit) = machines.ask("moved", &["--json", "audit", "moved.jsonl", "one"]).await;
    assert_eq!(code, 7, "{}", audit.stderr());
    assert!(
        audit.stderr().contains("outer step 4 on: samples: 73..97 of epoch 0 and 72..96"),
        "{}",
        audit.stderr()
    );
    assert!(audit.stdout().contains("\"same_outer_steps\":3"), "{}", audit.stdout());

    let (code, audit) = machines.ask("missing", &["audit", "nowhere", "one"]).await;
    assert_eq!((code, audit.stderr().contains("nowhere")), (2, true), "{}", audit.stderr());
    std::fs::write(machines.path("broken.jsonl"), "{\"outer_step\": 1}\n").unwrap();
    let (code, audit) = machines.ask("broken", &["audit", "one", "broken.jsonl"]).await;
    assert_eq!((code, audit.stderr().contains("broken.jsonl: line 1")), (2, true), "{}", audit.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_was_acknowledged_survives_the_coordinator() {
    let mut machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(50).await;
    let (code, user) = machines.ask("pause", &["pause", &id]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    machines.coordinator.signal(rustix::process::Signal::KILL);
    machines.coordinator.ended().await;
    machines.restart().await;
    let job = machines.client.job(&id).await;
    assert_eq!(job.state(), lookbehind_proto::v1::JobState::Paused, "{}", job.message);
    let (code, user) = machines.ask("resume", &["resume", &id]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    let history = machines.client.finish(&id).await;
    history.check_whole();
    assert_eq!(history.digest(), lookbehind_tests::machines::long_digest().await);
}
