//! The JSON of the command line and that of the HTTP interface: the same form for the same thing, and the one that
//! `docs/json.md` describes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use lookbehind::args::{Command, Delete, Jobs, OneJob, Remote};
use lookbehind::commands;
use lookbehind::console::Console;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::http::get;
use lookbehind_tests::jobs::job;
use lookbehind_worker::registry::Registry;
use serde_json::Value;

/// With a test split, and with every optional key of a job.
const JOB: &str = r#"
    name = "json"
    [model]
    kind = "mlp"
    hidden = [8]
    [data]
    kind = "digits"
    [train]
    epochs = 1
    batch_size = 256
    shards = 2
    [optimizer]
    method = "lookbehind"
    k = 2
    [labels]
    study = "json"
"#;

const COMMAND_LINE: &str = "command line";
const HTTP: &str = "HTTP";

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command prints with `--json`, under one of the keys of its lines.
async fn printed(command: Command, key: &str) -> Vec<Value> {
    let out = Out::default();
    let console = Console::to(true, out.clone());
    within("the command", commands::run(command, &console, Registry::builtin())).await.unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line.get(key).cloned()).collect()
}

/// The events of a job that is over, by name.
async fn events(cluster: &Cluster, id: &str) -> BTreeMap<String, Value> {
    // The client requires a provider although it does not use it. An error means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("http://{}/api/jobs/{id}/live?points=10000", cluster.http_addr().unwrap());
    let text = within("the events", async { reqwest::get(url).await.unwrap().text().await.unwrap() }).await;
    let events = text.split("\n\n").filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "));
    events.map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap())).collect()
}

/// The rows of a table of the documentation: key, whether it is optional, and where it stands.
fn documented(table: &str) -> Vec<(&'static str, bool, &'static str)> {
    let text = include_str!("../../../docs/json.md");
    let (_, section) = text.split_once(&format!("\n## {table}\n")).expect(table);
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let key = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((key, cells[2].ends_with("optional"), cells[3]))
    };
    section.lines().filter_map(row).collect()
}

/// Checks that an object has the documented keys: all that are not optional, and no other.
fn assert_documented(table: &str, place: &str, value: &Value) {
    let rows = documented(table);
    let object = value.as_object().unwrap_or_else(|| panic!("{table}: {value}"));
    for key in object.keys() {
        let row = rows.iter().find(|(name, ..)| name == key);
        let (_, _, stands) = row.unwrap_or_else(|| panic!("{table}: {key} is not documented"));
        assert!(stands.is_empty() || *stands == place, "{table}: {key} is documented for the {stands} only");
    }
    for (key, optional, stands) in rows {
        let expected = !optional && (stands.is_empty() || stands == place);
        assert!(!expected || object.contains_key(key), "{table}: no {key} in {value}");
    }
}

/// Checks that two objects have the keys that belong to both, with equal values; `moving` is a key whose value changes
/// from call to call.
fn assert_same(table: &str, printed: &Value, answered: &Value, moving: Option<&str>) {
    assert_documented(table, COMMAND_LINE, printed);
    assert_documented(table, HTTP, answered);
    let common = documented(table).into_iter().filter(|(_, _, stands)| stands.is_empty());
    for (key, ..) in common.filter(|(key, ..)| Some(*key) != moving) {
        assert_eq!(printed.get(key), answered.get(key), "{table}: {key}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn assert_same_lists(table: &str, printed: &[Value], answered: &Value) {
    assert_eq!(printed.len(), list(answered).len(), "{table}");
    for (printed, answered) in printed.iter().zip(list(answered)) {
        assert_same(table, printed, answered, None);
    }
}

/// A coordinator with a worker and a job that is over, and what its HTTP interface says of them.
struct Seen {
    cluster: Cluster,
    remote: Remote,
    id: String,
    overview: Value,
    events: BTreeMap<String, Value>,
}

impl Seen {
    async fn new() -> Self {
        let mut cluster =
            Cluster::with_config(|config| config.http = Some("127.0.0.1:0".parse().unwrap())).await;
        let backend = cluster.backend(Registry::builtin());
        cluster.add("w1", backend).await;
        let id = cluster.client().submit(&job(JOB)).await;
        cluster.client().finish(&id).await;
        let overview = get(cluster.http_addr().unwrap(), "/api/overview").await.text;
        let overview = serde_json::from_str(&overview).unwrap();
        let events = events(&cluster, &id).await;
        let remote = Remote { url: cluster.url().to_owned(), credentials: None };
        Self { cluster, remote, id, overview, events }
    }

    fn one(&self) -> OneJob {
        OneJob { id: self.id.clone(), remote: self.remote.clone() }
    }
}

/// The command that lists all jobs.
fn all(remote: &Remote) -> Jobs {
    let (states, labels, owner, name) = Default::default();
    Jobs { states, owner, name, labels, limit: 100, all: true, remote: remote.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_and_http_interface_say_the_same_of_a_job() {
    let seen = Seen::new().await;
    let listed = printed(Command::Jobs(all(&seen.remote)), "jobs").await;
    for shown in [&listed[0][0], &printed(Command::Job(seen.one()), "job").await[0]] {
        assert_same("Job", shown, &seen.overview["jobs"][0], None);
        assert_same("Job", shown, &seen.events["job"], None);
        for key in ["created_at", "finished_at"] {
            assert!(shown[key].as_str().unwrap().ends_with('Z'), "{key}: {shown}");
        }
    }
    assert_same("Results", &listed[0][0]["results"], &seen.overview["jobs"][0]["results"], None);
    let steps = printed(Command::Watch(seen.one()), "step").await;
    assert_same_lists("Step", &steps, &seen.events["history"]["steps"]);
    let last = steps.last().unwrap();
    assert_documented("Time", COMMAND_LINE, &last["time"]);
    assert_documented("Test", COMMAND_LINE, &last["test"]);
    assert_eq!(&seen.overview["jobs"][0]["last"], last);
    let notices = printed(Command::Watch(seen.one()), "notice").await;
    assert_same_lists("Notice", &notices, &seen.events["history"]["notices"]);
    let workers = printed(Command::Workers(seen.remote.clone()), "workers").await;
    assert_same("Worker", &workers[0][0], &seen.overview["workers"][0], Some("silent_seconds"));
    let checkpoints = printed(Command::Checkpoints(seen.one()), "checkpoints").await;
    assert_documented("Checkpoint", COMMAND_LINE, &checkpoints[0][0]);
    let delete = Delete { ids: vec![seen.id.clone()], yes: true, remote: seen.remote.clone() };
    assert_eq!(printed(Command::Delete(delete), "deleted").await, [Value::from(seen.id.as_str())]);
    let left = printed(Command::Jobs(all(&seen.remote)), "jobs").await;
    assert_eq!(left, [Value::Array(Vec::new())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_dashboard_reads_is_documented() {
    let seen = Seen::new().await;
    assert_documented("Overview", HTTP, &seen.overview);
    let page = get(seen.cluster.http_addr().unwrap(), "/api/jobs?label=study%3Djson").await.text;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_documented("Page", HTTP, &page);
    assert_eq!(page["jobs"], seen.overview["jobs"], "a job has one form wherever it is listed");
    list(&seen.overview["events"]).iter().for_each(|event| assert_documented("Event", HTTP, event));
    let timelines = list(&seen.events["timeline"]);
    assert!(!timelines.is_empty());
    for timeline in timelines {
        assert_documented("Timeline", HTTP, timeline);
        for request in list(&timeline["requests"]) {
            assert_documented("Request", HTTP, request);
            list(&request["parts"]).iter().for_each(|part| assert_documented("Part", HTTP, part));
        }
    }
}
