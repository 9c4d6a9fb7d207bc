//! Connections that are cut, refused, one-way or slow change neither the final weights nor what a watcher sees.

use std::collections::BTreeSet;
use std::time::Duration;

use lookbehind_tests::client::within;
use lookbehind_tests::cluster::small_digest;
use lookbehind_tests::jobs::{LONG_STEPS, on_workers, small_with};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use lookbehind_tests::proxy::{Direction, Proxy, Which};
use tempfile::TempDir;
use tokio::net::TcpListener;

use lookbehind_tests::machines::{Machines, ends_like_an_undisturbed_run, reported_outer_steps};

/// A worker that connects to the coordinator through a proxy of its own.
async fn behind_proxy(machines: &Machines, name: &str) -> (Process, Proxy) {
    let proxy = Proxy::new(&machines.url).await;
    let worker = machines.worker_at(&proxy.url(), name);
    machines.registered(name).await;
    (worker, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_again_and_again_leave_the_final_weights_unchanged() {
    let machines = Machines::new().await;
    let (_a, first) = behind_proxy(&machines, "a").await;
    let (_b, second) = behind_proxy(&machines, "b").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    for round in 0..9 {
        watcher.until_step(50 + 100 * round).await;
        match round % 3 {
            0 => [&first, &second].iter().for_each(|proxy| proxy.cut_all()),
            1 => first.cut(Which::Busiest),
            _ => second.cut(Which::Quietest),
        }
    }
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_workers_waits_until_they_are_let_in_again() {
    let machines = Machines::new().await;
    let (worker, proxy) = behind_proxy(&machines, "a").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(50).await;
    let connections = proxy.refuse_all();
    watcher.until_said(&["worker a lost"]).await;
    proxy.accepted(connections + 3).await;
    proxy.refuse(false);
    ends_like_an_undisturbed_run(&machines, &id).await;
    assert!(worker.stderr().contains("trying again"), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_while_the_job_is_prepared_leave_the_final_weights_unchanged() {
    let machines = Machines::new().await;
    let proxy = Proxy::new(&machines.url).await;
    let _worker = machines.worker_at(&proxy.url(), "a");
    let id = machines.submit("small.toml").await;
    for connections in 1..=8 {
        proxy.accepted(connections).await;
        proxy.cut_all();
    }
    let history = machines.client.finish(&id).await;
    assert_eq!(history.digest(), small_digest().await);
}

/// If one direction of a worker's connection loses everything, the side that receives nothing considers the other lost,
/// the job ends with its usual result, and the worker comes back.
async fn one_way(lost: Direction) {
    let machines = Machines::detecting("1").await;
    let _steady = machines.worker("steady").await;
    let (mut cut_off, proxy) = behind_proxy(&machines, "cut-off").await;
    let id = machines.submit("long.toml").await;
    let mut watcher = machines.client.watch(&id).await;
    watcher.until_step(50).await;
    proxy.hold(lost, true);
    match lost {
        Direction::Up => watcher.until_said(&["worker cut-off lost", "nothing was received"]).await,
        Direction::Down => {
            cut_off.logged("nothing was received").await;
            watcher.until_said(&["worker cut-off lost"]).await
        }
    };
    watcher.until_step(LONG_STEPS / 2).await;
    proxy.hold(lost, false);
    machines.registered("cut-off").await;
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_not_heard_is_given_up_and_comes_back() {
    one_way(Direction::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hears_nothing_is_given_up_and_comes_back() {
    one_way(Direction::Down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_lines_leave_the_final_weights_unchanged() {
    let machines = Machines::new().await;
    let (_a, first) = behind_proxy(&machines, "a").await;
    let (_b, second) = behind_proxy(&machines, "b").await;
    first.delay(Duration::from_millis(2));
    second.delay(Duration::from_millis(8));
    let history = machines.client.run(&small_with(|job| on_workers(job, 2))).await;
    assert_eq!(history.digest(), small_digest().await);
    assert_eq!(history.most_workers(), 2, "the slower line took no part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_whose_connection_is_cut_is_told_every_step_once() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let proxy = Proxy::new(&machines.url).await;
    let id = machines.submit("long.toml").await;
    let mut watching = machines.user_at(&proxy.url(), "watching", &["--json", "watch", &id]);
    let mut seen = machines.client.watch(&id).await;
    for round in 1..=8 {
        // Some events are in transit when the connection is cut.
        seen.until_step(100 * round - 50).await;
        proxy.hold(Direction::Down, true);
        seen.until_step(100 * round).await;
        proxy.cut_all();
        proxy.hold(Direction::Down, false);
    }
    assert_eq!(watching.exit().await, 0, "{}", watching.stderr());
    assert_eq!(
        reported_outer_steps(&watching),
        (1..=LONG_STEPS).collect::<Vec<u64>>(),
        "each step once, whatever was cut"
    );
    ends_like_an_undisturbed_run(&machines, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_its_coordinator_does_not_repeat_itself() {
    let folder = TempDir::with_prefix("lookbehind-waiting-").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let worker = Process::start(programs::worker(), &["--coordinator", &url], folder.path(), "worker");
    for _ in 0..6 {
        drop(within("another attempt", listener.accept()).await.unwrap());
    }
    let log = worker.stderr();
    let reasons: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("trying again")).map(|(_, told)| told).collect();
    let different: BTreeSet<&&str> = reasons.iter().collect();
    assert!(!reasons.is_empty() && different.len() == reasons.len(), "{log}");
}
