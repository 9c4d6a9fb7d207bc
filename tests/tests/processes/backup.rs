//! Backups of a state that is in use, and of one that is not: what is restored goes on to the same weights.

use lookbehind_proto::v1;
use lookbehind_tests::jobs::LONG_STEPS;
use lookbehind_tests::machines::{Machines, ends_like_an_undisturbed_run};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use rustix::process::Signal;

/// Runs a task of the coordinator's program; returns its exit code, output and log.
async fn task(machines: &Machines, name: &str, args: &[&str]) -> (i32, String, String) {
    let folder = machines.path("");
    let mut task = Process::start(programs::coordinator(), args, &folder, name);
    (task.exit().await, task.stdout(), task.stderr())
}

/// Replaces the state of a coordinator, which is killed, by that of a backup.
async fn lose_and_restore(machines: &mut Machines, backup: &str) {
    machines.coordinator.signal(Signal::KILL);
    machines.coordinator.ended().await;
    std::fs::remove_dir_all(machines.path("state")).unwrap();
    let (code, _, log) = task(machines, "restore", &["restore", "--from", backup, "--state", "state"]).await;
    assert_eq!(code, 0, "{log}");
    machines.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_is_backed_up_while_it_trains_and_a_restored_one_goes_on_to_the_same_weights() {
    let mut machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let ended = machines.submit("small.toml").await;
    let before = machines.client.finish(&ended).await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(150).await;
    let args = ["backup", "--state", "state", "--out", "backup"];
    let (code, printed, log) = task(&machines, "backup", &args).await;
    assert_eq!(code, 0, "{log}");
    assert!(printed.contains("jobs: 2"), "{printed}");
    // The one that was backed up is not disturbed by it.
    ends_like_an_undisturbed_run(&machines, &id).await;

    lose_and_restore(&mut machines, "backup").await;
    let restored = machines.client.job(&id).await;
    assert!((100..LONG_STEPS).contains(&restored.outer_step), "{restored:?}");
    ends_like_an_undisturbed_run(&machines, &id).await;
    let after = machines.client.finish(&ended).await;
    assert_eq!((&after.notices, &after.steps), (&before.notices, &before.steps));
    assert_eq!(machines.client.weights(&ended).await.1, before.digest(), "its model is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_state_is_backed_up_without_a_coordinator_and_a_second_backup_needs_a_folder_of_its_own() {
    let mut machines = Machines::new().await;
    let worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(150).await;
    machines.coordinator.signal(Signal::TERM);
    machines.coordinator.ended().await;
    let args = ["backup", "--state", "state", "--out", "backup"];
    let (code, _, log) = task(&machines, "backup", &args).await;
    assert_eq!(code, 0, "{log}");
    let (code, _, log) = task(&machines, "again", &args).await;
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("expected a folder that is empty"), "{log}");
    drop(worker);
    machines.restart().await;
    lose_and_restore(&mut machines, "backup").await;
    assert_ne!(machines.client.job(&id).await.state(), v1::JobState::Failed);
    let _worker = machines.worker("b").await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}
