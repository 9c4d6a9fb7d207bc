//! Processes that are killed, frozen or asked to stop do not change the final weights.

use lookbehind_common::job::Perturbation;
use lookbehind_proto::v1;
use rustix::process::Signal;
use serde_json::Value;

use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::{LONG_STEPS, small_with};
use lookbehind_tests::machines::{
    Machines, ends_like_an_undisturbed_run, lines, long_digest, reported_outer_steps,
};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;

/// Checks that the job is running and far from its end, so that what happens now affects it.
async fn is_under_way(machines: &Machines, id: &str) {
    let job = machines.client.job(id).await;
    assert_eq!(job.state(), v1::JobState::Running, "the job was too short for the test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_leaves_the_final_weights_unchanged() {
    let machines = Machines::new().await;
    let _survivor = machines.worker("survivor").await;
    let victim = machines.worker("victim").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(50).await;
    is_under_way(&machines, &id).await;
    victim.kill().await;
    watcher.until_said(&["victim", "lost"]).await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_within_a_visit_leaves_the_final_weights_unchanged() {
    // An outer step is one visit of 41 gradients, which take nearly all of its time.
    let job = small_with(|job| {
        job.train.epochs = Some(20);
        job.optimizer.k = Some(40);
        job.optimizer.perturbation = Some(Perturbation::Shard);
    });
    let alone = Cluster::of(1).await.client().run(&job).await.digest().to_owned();
    let machines = Machines::new().await;
    let _survivor = machines.worker("survivor").await;
    let victim = machines.worker("victim").await;
    let id = machines.client.submit(&job).await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(10).await;
    is_under_way(&machines, &id).await;
    victim.kill().await;
    watcher.until_said(&["victim", "lost"]).await;
    let history = watcher.to_the_end().await;
    history.check_whole();
    assert_eq!(history.digest(), alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_end_says_goodbye_and_leaves_the_final_weights_unchanged() {
    let machines = Machines::new().await;
    let _survivor = machines.worker("survivor").await;
    let mut leaving = machines.worker("leaving").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(50).await;
    is_under_way(&machines, &id).await;
    leaving.signal(Signal::TERM);
    assert_eq!(leaving.exit().await, 0, "{}", leaving.stderr());
    watcher.until_said(&["leaving", "leaves"]).await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_freezes_is_given_up_and_comes_back_when_it_thaws() {
    let machines = Machines::detecting("1").await;
    let _steady = machines.worker("steady").await;
    let frozen = machines.worker("frozen").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(50).await;
    is_under_way(&machines, &id).await;
    frozen.signal(Signal::STOP);
    watcher.until_said(&["frozen", "lost"]).await;
    ends_like_an_undisturbed_run(&machines, &id).await;
    frozen.signal(Signal::CONT);
    machines.registered("frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_told_to_end_writes_a_checkpoint_and_goes_on_from_it() {
    let mut machines = Machines::new().await;
    let _workers = [machines.worker("a").await, machines.worker("b").await];
    let id = machines.submit("long.toml").await;
    let mut watching = machines.user("watching", &["--json", "watch", &id]);
    let reached = machines.client.watch(&id).await.until_step(150).await.steps.last().unwrap().outer_step;
    is_under_way(&machines, &id).await;
    machines.coordinator.signal(Signal::TERM);
    assert_eq!(machines.coordinator.exit().await, 0, "{}", machines.coordinator.stderr());
    let checkpoint = *machines.checkpoints(&id).last().unwrap();
    assert!(checkpoint >= reached, "the newest checkpoint is {checkpoint}, outer step {reached} was done");

    machines.restart().await;
    ends_like_an_undisturbed_run(&machines, &id).await;
    let history = machines.client.finish(&id).await;
    assert!(history.said(&["training from", &checkpoint.to_string()]), "{:?}", history.notices);
    assert_eq!(watching.exit().await, 0, "{}", watching.stderr());
    assert_eq!(
        reported_outer_steps(&watching),
        (1..=LONG_STEPS).collect::<Vec<u64>>(),
        "each step once, across the restart"
    );
    let digest = lines(&watching).last().map(|line| line["summary"]["digest"].clone());
    assert_eq!(digest, Some(Value::from(long_digest().await)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_and_a_worker_that_are_killed_leave_the_final_weights_unchanged() {
    let mut machines = Machines::new().await;
    let _steady = machines.worker("steady").await;
    let victim = machines.worker("victim").await;
    let id = machines.submit("long.toml").await;
    let mut watching = machines.user("watching", &["--json", "watch", &id]);
    machines.client.watch(&id).await.until_step(150).await;
    is_under_way(&machines, &id).await;
    machines.coordinator.signal(Signal::KILL);
    victim.kill().await;
    machines.coordinator.ended().await;
    machines.restart().await;
    let _late = machines.worker("late").await;
    ends_like_an_undisturbed_run(&machines, &id).await;
    assert_eq!(watching.exit().await, 0, "{}", watching.stderr());
    assert_eq!(
        reported_outer_steps(&watching),
        (1..=LONG_STEPS).collect::<Vec<u64>>(),
        "each step once, across the restart"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_coordinator_at_once_and_with_a_code_of_its_own() {
    let mut machines = Machines::new().await;
    let worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(20).await;
    // Its outer step does not end any more.
    worker.signal(Signal::STOP);
    machines.coordinator.signal(Signal::TERM);
    machines.coordinator.logged("shutdown requested").await;
    machines.coordinator.signal(Signal::TERM);
    assert_eq!(machines.coordinator.exit().await, 130, "{}", machines.coordinator.stderr());
    worker.signal(Signal::CONT);
    machines.restart().await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

/// A second coordinator on the same state exits immediately with an error message.
async fn a_second_one_is_refused(machines: &Machines) {
    let args = ["--listen", "127.0.0.1:0", "--state", "state"];
    let mut second = Process::start(programs::coordinator(), &args, &machines.path("."), "second");
    assert_eq!(second.exit().await, 78, "{}", second.stderr());
    let says = ["state", "another coordinator"].iter().all(|word| second.stderr().contains(word));
    assert!(says, "{}", second.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_coordinator_on_the_same_state_is_refused_and_harms_nothing() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(50).await;
    a_second_one_is_refused(&machines).await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_coordinator_is_refused_also_while_the_first_is_frozen() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(50).await;
    machines.coordinator.signal(Signal::STOP);
    a_second_one_is_refused(&machines).await;
    machines.coordinator.signal(Signal::CONT);
    ends_like_an_undisturbed_run(&machines, &id).await;
}
