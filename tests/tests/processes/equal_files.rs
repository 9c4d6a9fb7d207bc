//! Equal jobs leave equal files: in any process, with any number of workers, trained standalone or fetched from a
//! cluster. Fields that may differ are last in each file, so that the rest can be compared byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lookbehind_tests::jobs::SMALL_JOB;
use lookbehind_tests::process::Process;
use serde_json::Value;

use lookbehind_tests::machines::Machines;
use lookbehind_tests::programs;

/// A job with two optimizer buffers, results on a test split and several checkpoints, all of which are kept.
fn job() -> String {
    let tested = SMALL_JOB.replace("train = \"small", "test = \"small.safetensors\"\ntrain = \"small");
    let sgd = "kind = \"sgd\"\n        lr = 0.1\n        momentum = 0.9";
    assert!(tested.contains(sgd));
    tested.replace(sgd, "kind = \"adamw\"\n        lr = 0.01") + "[checkpoint]\nevery_steps = 5\nkeep = 100\n"
}

/// The files of a run: their bytes by their names, without what may differ.
type Files = BTreeMap<String, Vec<u8>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_jobs_leave_equal_files_in_any_process_with_any_workers_alone_or_in_a_cluster() {
    let machines = Machines::new().await;
    // `train` looks for the data next to the job file, workers in their data folder.
    for path in ["equal.toml", "data/equal.toml"] {
        std::fs::write(machines.path(path), job()).unwrap();
    }
    let trained = [trained(&machines, 1).await, trained(&machines, 2).await, trained(&machines, 3).await];
    let fetched = [fetched(&machines, &["a"], false).await, fetched(&machines, &["b", "c"], true).await];

    let expected = &trained[0];
    let names: Vec<&str> = expected.keys().map(String::as_str).collect();
    for name in ["model.safetensors", "summary.json", "metrics.jsonl", "tensorboard", "step-5/manifest.json"]
    {
        assert!(names.contains(&name), "expected {name} in {names:?}");
    }
    // Steps 0, 5, 10 and 15, and the last one.
    assert_eq!(names.iter().filter(|name| name.ends_with("optimizer.safetensors")).count(), 5, "{names:?}");
    for files in &trained[1..] {
        assert_equal(files, expected);
    }
    // For a fetched job there is no file of the user to copy: `job.toml` is generated.
    let without_job = |files: &Files| {
        let mut files = files.clone();
        (files.remove("job.toml"), files)
    };
    let fetched = fetched.each_ref().map(without_job);
    assert_eq!(fetched[0].0, fetched[1].0);
    for (_, files) in &fetched {
        assert_equal(files, &without_job(expected).1);
    }
}

/// Trains in a single process.
async fn trained(machines: &Machines, workers: u16) -> Files {
    let [out, state] = ["out", "state"].map(|name| format!("train-{workers}-{name}"));
    let workers = workers.to_string();
    let args = ["train", "data/equal.toml", "--workers", &workers, "--out", &out, "--state", &state];
    let mut train = Process::start(programs::lookbehind(), &args, &machines.path("."), "train");
    assert_eq!(train.exit().await, 0, "{}", train.stderr());
    let jobs = std::fs::read_dir(machines.path(&state).join("jobs")).unwrap();
    let [job] = jobs.map(|job| job.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    files(&machines.path(&out), &job)
}

/// Trains on workers of the cluster, at least one of them new; fetches the files, either after the job has ended or
/// while it is watched.
async fn fetched(machines: &Machines, workers: &[&str], watched: bool) -> Files {
    let mut running = Vec::new();
    for name in workers {
        running.push(machines.worker(name).await);
    }
    let out = format!("fetched-{}", workers[0]);
    let id = if watched {
        let submit = ["--json", "submit", "equal.toml", "--watch", "--out", &out];
        let (code, user) = machines.ask("watched", &submit).await;
        assert_eq!(code, 0, "{}", user.stderr());
        let (_, rest) =
            user.stdout().split_once("\"id\":\"").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        rest.split('"').next().unwrap().to_owned()
    } else {
        machines.submit("equal.toml").await
    };
    machines.client.finish(&id).await;
    let refetched = format!("{out}-again");
    let (code, user) = machines.ask("fetch", &["fetch", &id, "--out", &refetched]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    let job = machines.path("state/jobs").join(&id);
    if watched {
        let mut watched = files(&machines.path(&out), &job);
        let mut again = files(&machines.path(&refetched), &job);
        assert!(watched.remove("job.toml").is_some() && again.remove("job.toml").is_some());
        assert_equal(&watched, &again);
    }
    files(&machines.path(&refetched), &job)
}

fn assert_equal(found: &Files, expected: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(found), names(expected));
    for (name, bytes) in found {
        let text = String::from_utf8_lossy;
        assert!(*bytes == expected[name], "{name}: {}\nand {}", text(bytes), text(&expected[name]));
    }
}

/// All files that a run left in its output folder and in its job's checkpoints.
fn files(out: &Path, job: &Path) -> Files {
    let mut files = Files::new();
    for path in entries(out)
        .into_iter()
        .chain(entries(&job.join("checkpoints")).iter().flat_map(|step| entries(step)))
    {
        let name = name_of(&path);
        let step = path.parent().map(name_of).filter(|step| step.starts_with("step-"));
        let full = step.map_or_else(|| name.clone(), |step| format!("{step}/{name}"));
        let content = if path.is_dir() { tensorboard(&path) } else { std::fs::read(&path).unwrap() };
        files.insert(full, without_differences(&name, content));
    }
    files
}

/// A file's bytes without the fields that are documented to differ, which must be last.
fn without_differences(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    let cut = |differing: &[&str]| {
        let text = std::str::from_utf8(&bytes).unwrap();
        text.lines().map(|line| cut_line(line, differing)).collect::<Vec<_>>().join("\n").into_bytes()
    };
    let document = |differing: &[&str]| {
        let text = std::str::from_utf8(&bytes).unwrap();
        cut_object(text, &format!(",\n  \"{}\": ", differing[0]), differing).to_owned().into_bytes()
    };
    match name {
        "manifest.json" => document(&["job", "build", "class_description", "seal"]),
        "summary.json" => document(&["job_id", "message", "time", "one_more_worker"]),
        "metrics.jsonl" => cut(&["workers", "time"]),
        _ => bytes,
    }
}

fn cut_line(line: &str, differing: &[&str]) -> String {
    cut_object(line, &format!(",\"{}\":", differing[0]), differing).to_owned()
}

/// The text of an object before its first differing field; after it only differing fields are allowed.
fn cut_object<'a>(text: &'a str, first: &str, differing: &[&str]) -> &'a str {
    let (same, rest) = text.split_once(first).unwrap_or_else(|| panic!("expected {first:?} in {text}"));
    let rest: Value = serde_json::from_str(&format!("{{\"{}\":{rest}", differing[0])).unwrap();
    let found: BTreeSet<&str> = rest.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, differing.iter().copied().collect(), "{text}");
    same
}

/// The events in the only file of a run, without their times and the checksums over them. The file's name is a time as
/// well.
fn tensorboard(folder: &Path) -> Vec<u8> {
    let [path] = <[PathBuf; 1]>::try_from(entries(folder)).unwrap();
    let name = name_of(&path);
    let time =
        name.strip_prefix("events.out.tfevents.").and_then(|rest| rest.strip_suffix(".lookbehind")).unwrap();
    assert!(time.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    let bytes = std::fs::read(&path).unwrap();
    let (mut events, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((length, tail)) = rest.split_first_chunk::<8>() {
        let event = &tail[4..4 + u64::from_le_bytes(*length) as usize];
        // Field 1, a double, comes first: the time.
        assert_eq!(event[0], 0x09);
        events.extend_from_slice(length);
        events.extend_from_slice(&event[9..]);
        rest = &tail[4 + event.len() + 4..];
    }
    assert!(rest.is_empty() && !events.is_empty());
    events
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
