//! Programs as seen by monitoring: probes, and readers of logs.

use lookbehind_tests::client::within;
use lookbehind_tests::process::Process;
use rustix::process::Signal;
use serde_json::Value;

use lookbehind_tests::machines::Machines;
use lookbehind_tests::programs;

/// Asks the worker at an address whether it is ready.
async fn probe(machines: &Machines, address: &str) -> (i32, String) {
    let args = ["--http", address, "--probe"];
    let mut probe = Process::start(programs::worker(), &args, &machines.path("."), "probe");
    (probe.exit().await, probe.stdout() + &probe.stderr())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_tells_whether_a_worker_has_a_coordinator_and_what_is_missing() {
    let mut machines = Machines::new().await;
    let args = ["--coordinator", &machines.url, "--name", "probed", "--http", "127.0.0.1:0"];
    let mut worker = Process::start(programs::worker(), &args, &machines.path("."), "probed");
    let served = worker.logged("metrics and health are served address=").await;
    let address = served.split_whitespace().next().unwrap().to_owned();
    machines.registered("probed").await;
    within("a ready worker", async { while probe(&machines, &address).await != (0, "ready\n".into()) {} })
        .await;

    machines.coordinator.signal(Signal::KILL);
    machines.coordinator.ended().await;
    let unready = (1, "not ready: not registered with the coordinator\n".to_owned());
    within("an unready worker", async { while probe(&machines, &address).await != unready {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_for_programs_are_one_object_a_line_with_the_fields_next_to_the_message() {
    let folder = tempfile::TempDir::with_prefix("lookbehind-logs-").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--state", "state", "--log-format", "json"];
    let mut coordinator = Process::start(programs::coordinator(), &listen, folder.path(), "coordinator");
    coordinator.logged("coordinator listens").await;
    let line = line_of(&coordinator, "coordinator listens");
    assert_eq!(line["level"], "INFO");
    let url = format!("http://{}", line["address"].as_str().unwrap());

    let args = ["--coordinator", &url, "--name", "first", "--log-format", "json"];
    let mut worker = Process::start(programs::worker(), &args, folder.path(), "worker");
    worker.logged("registered").await;
    assert_eq!(line_of(&worker, "registered")["worker"], "first");
}

/// The log line with a message; all lines are JSON objects.
fn line_of(process: &Process, message: &str) -> Value {
    let log = process.stderr();
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.find(|line| line["message"] == message).unwrap_or_else(|| panic!("no {message:?} in {log}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_a_job_that_waits_is_told_what_for() {
    let machines = Machines::new().await;
    let id = machines.submit("small.toml").await;
    let mut watch = machines.user("watch", &["watch", &id]);
    watch.logged(&format!("{id} waits for a worker: none is connected")).await;
    let _worker = machines.worker("w1").await;
    assert_eq!(watch.exit().await, 0, "{}", watch.stderr());
}
