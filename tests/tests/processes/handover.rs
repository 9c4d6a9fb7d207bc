//! The portable worker, and the one for GPUs next to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use lookbehind_tests::jobs::{SMALL_JOB, write_small};
use lookbehind_tests::process::Process;
use tempfile::TempDir;

use lookbehind_tests::programs;

/// The error message of the system for a program whose library is missing.
const REFUSED: &str =
    "echo \"$0: error while loading shared libraries: libcuda.so.1: cannot open shared object file\" >&2
exit 127";

/// Prints its arguments, in place of the program that would take over.
const WILLING: &str = "echo \"for GPUs: $*\"
[ \"$1\" = --version ] || exit 42";

/// A folder with the worker and, optionally, a script in place of the other program.
fn programs(cuda: Option<&str>) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::copy(programs::worker(), folder.path().join("lookbehind-worker")).unwrap();
    if let Some(script) = cuda {
        let path = folder.path().join("lookbehind-worker-cuda");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Exit code, output and log of the worker with the given arguments.
async fn run(folder: &TempDir, args: &[&str]) -> (i32, String, String) {
    let program = folder.path().join("lookbehind-worker");
    let mut worker = Process::start(program.to_str().unwrap(), args, folder.path(), "worker");
    (worker.exit().await, worker.stdout(), worker.stderr())
}

#[tokio::test]
async fn the_worker_for_gpus_takes_over_with_the_same_arguments_where_a_gpu_is_wanted() {
    let folder = programs(Some(WILLING));
    for device in ["cuda:0,1", "cuda", "auto"] {
        let (code, printed, log) = run(&folder, &["--name", "a b", "--device", device]).await;
        assert_eq!((code, printed), (42, format!("for GPUs: --name a b --device {device}\n")), "{log}");
    }
}

#[tokio::test]
async fn a_missing_library_is_named_in_one_line_and_has_an_exit_code_of_its_own() {
    let folder = programs(Some(REFUSED));
    let (code, printed, log) = run(&folder, &["--device", "cuda:0"]).await;
    assert_eq!((code, printed.as_str(), log.lines().count()), (69, "", 1), "{log}");
    assert!(
        log.contains("device cuda:0: no GPU can be used") && log.contains("libcuda.so.1: cannot open"),
        "{log}"
    );
}

#[tokio::test]
async fn without_a_gpu_auto_stays_on_the_cpu_and_says_why() {
    let folder = programs(Some(REFUSED));
    // On a CPU there is nothing to check; the log says what the worker would compute on.
    let (code, _, log) = run(&folder, &["--device", "auto", "check"]).await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("computing on the CPU") && log.contains("libcuda.so.1: cannot open"), "{log}");
    assert!(log.contains("device CPU "), "{log}");
}

#[tokio::test]
async fn a_worker_for_the_cpu_alone_refuses_gpus_as_unusable_configuration() {
    let folder = programs(None);
    let (code, _, log) = run(&folder, &["--device", "cuda:0"]).await;
    assert_eq!((code, log.lines().count()), (78, 1), "{log}");
    assert!(log.contains("built without CUDA"), "{log}");
    let (code, _, log) = run(&folder, &["--device", "gpu0"]).await;
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("expected auto, cpu, cuda"), "{log}");
}

/// A folder as for [`programs`], with the small job and its data.
fn with_small_job(cuda: Option<&str>) -> TempDir {
    let folder = programs(cuda);
    fs::write(folder.path().join("job.toml"), SMALL_JOB).unwrap();
    write_small(folder.path());
    folder
}

const MEASURE: [&str; 6] = ["--data", ".", "measure", "job.toml", "--gradients", "2"];

#[tokio::test]
async fn the_cpu_is_measured_without_a_coordinator() {
    let folder = with_small_job(None);
    let (code, printed, log) = run(&folder, &[&MEASURE[..], &["--json"]].concat()).await;
    assert_eq!(code, 0, "{log}");
    let measured: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let counted = (&measured["samples"], &measured["shards"], &measured["gradients"]);
    assert_eq!(counted, (&24.into(), &8.into(), &2.into()));
    assert!(measured["seconds"]["median"].as_f64().unwrap() > 0.0, "{printed}");
}

#[test]
fn a_log_without_a_reader_ends_no_program() {
    let folder = with_small_job(Some(REFUSED));
    let mut worker = Command::new(folder.path().join("lookbehind-worker"))
        .args(MEASURE)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropped, so that writing to it fails: the worker will log that it computes on the CPU.
    drop(worker.stderr.take());
    assert_eq!(worker.wait_with_output().unwrap().status.code(), Some(0));
}
