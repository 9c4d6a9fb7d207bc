//! What users meet in their first hour: wrong addresses, changed jobs, misspelt words.

use lookbehind_proto::v1;
use lookbehind_tests::jobs::SMALL_JOB;
use lookbehind_tests::machines::{Machines, long_digest};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use rustix::process::Signal;

/// Trains the small job with a change to its file, in a folder `kept`; returns the job's identity and what was said.
async fn trained(machines: &Machines, change: (&str, &str)) -> (String, String) {
    assert!(SMALL_JOB.contains(change.0));
    std::fs::write(machines.path("changed.toml"), SMALL_JOB.replacen(change.0, change.1, 1)).unwrap();
    let args = ["train", "changed.toml", "--data", "data", "--state", "kept", "--workers", "1"];
    let mut train = Process::start(programs::lookbehind(), &args, &machines.path("."), "train");
    assert_eq!(train.exit().await, 0, "{}", train.stderr());
    let (job, results) = (train.stdout(), train.stderr());
    (job.split_whitespace().nth(1).expect("a job").to_owned(), results)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_job_under_a_kept_state_says_what_changed_and_a_new_comment_changes_nothing() {
    let machines = Machines::new().await;
    let (first, said) = trained(&machines, ("", "")).await;
    assert!(!said.contains("another version"), "{said}");
    assert!(said.contains("training changed.toml on 1 worker in this process"), "{said}");
    assert!(said.contains("preparing on 1 worker\n"), "{said}");
    let (second, said) = trained(&machines, ("epochs = 2", "epochs = 2 # enough")).await;
    assert_eq!(second, first, "{said}");
    let (third, said) = trained(&machines, ("epochs = 2", "epochs = 3")).await;
    assert_ne!(third, first);
    let expected = format!("job {first} in the state folder (succeeded at outer step ");
    assert!(said.contains(&expected), "expected {expected:?} in {said}");
    assert!(said.contains("is another version of this one: train.epochs is 3 and was 2"), "{said}");
    assert!(said.contains("this one begins at outer step 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_job_of_the_same_state_is_set_aside_for_the_one_that_is_trained() {
    let machines = Machines::new().await;
    let args = ["train", "long.toml", "--data", "data", "--state", "kept"];
    let mut killed = Process::start(programs::lookbehind(), &args, &machines.path("."), "killed");
    killed.logged("outer step ").await;
    let started = killed.stderr();
    let first = started.split_whitespace().next().expect("a job").to_owned();
    killed.kill().await;
    let (second, said) = trained(&machines, ("", "")).await;
    assert_ne!(second, first);
    let expected = format!("job {first} is paused meanwhile");
    assert!(said.contains(&expected), "expected {expected:?} in {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_cancelled_or_has_failed_goes_on_from_its_checkpoint_where_it_is_trained_again() {
    let mut machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_said(&["checkpoint of outer step 100"]).await;
    let (code, user) = machines.ask("cancel", &["cancel", &id]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    machines.coordinator.signal(Signal::TERM);
    assert_eq!(machines.coordinator.exit().await, 0, "{}", machines.coordinator.stderr());

    let args = ["train", "long.toml", "--data", "data", "--state", "state", "--workers", "1", "--out", "out"];
    let mut train = Process::start(programs::lookbehind(), &args, &machines.path("."), "train");
    assert_eq!(train.exit().await, 0, "{}", train.stderr());
    let said = train.stderr();
    let expected = format!("job {id} in the state folder is cancelled: it is retried");
    assert!(said.contains(&expected), "expected {expected:?} in {said}");
    assert!(said.contains("goes on from outer step "), "{said}");
    assert!(!said.contains("begins anew"), "{said}");
    let summary = std::fs::read_to_string(machines.path("out/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["digest"], long_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_something_else_answers_is_told_in_one_sentence() {
    let folder = tempfile::TempDir::with_prefix("lookbehind-pages-").unwrap();
    let args = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state", "state"];
    let mut coordinator = Process::start(programs::coordinator(), &args, folder.path(), "coordinator");
    let listens = coordinator.logged("coordinator listens address=").await;
    let mut words = listens.split_whitespace();
    let grpc = words.next().expect("an address");
    let pages = words.next().and_then(|word| word.strip_prefix("http=")).expect("the address of its pages");
    for (url, expected) in [
        (format!("http://{pages}"), "the server there answers HTTP requests and not gRPC"),
        (format!("https://{grpc}"), "the server there does not speak TLS"),
    ] {
        let args = ["jobs", "--coordinator", &url];
        let mut user = Process::start(programs::lookbehind(), &args, folder.path(), "user");
        assert_eq!(user.exit().await, 3, "{}", user.stderr());
        let expected = format!("error: no coordinator answers at {url}: {expected}");
        assert!(user.stderr().starts_with(&expected), "expected {expected:?} in {}", user.stderr());
        assert_eq!(user.stderr().lines().count(), 1, "{}", user.stderr());
        let args = ["--coordinator", url.as_str(), "--name", "w"];
        let mut worker = Process::start(programs::worker(), &args, folder.path(), "worker");
        let said = worker.logged("no coordinator can be reached; trying again").await;
        assert!(said.contains("the server there"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_command_key_or_kind_is_answered_with_the_right_one() {
    let machines = Machines::new().await;
    for (found, changed, expected) in [
        ("shards = 8", "shrads = 8", "did you mean \"shards\"?"),
        ("method = \"lookbehind\"", "method = \"lookbehnid\"", "did you mean \"lookbehind\"?"),
        ("kind = \"mlp\"", "kind = \"mpl\"", "did you mean \"mlp\"?"),
        ("kind = \"safetensors\"", "kind = \"safetensor\"", "did you mean \"safetensors\"?"),
    ] {
        assert!(SMALL_JOB.contains(found), "{found}");
        std::fs::write(machines.path("bad.toml"), SMALL_JOB.replacen(found, changed, 1)).unwrap();
        let mut user =
            Process::start(programs::lookbehind(), &["validate", "bad.toml"], &machines.path("."), "user");
        assert_eq!(user.exit().await, 2, "{changed}: {} {}", user.stdout(), user.stderr());
        assert!(user.stderr().contains(expected), "{changed}: {}", user.stderr());
        assert_eq!(user.stdout(), "", "{changed}");
    }
    let (code, user) = machines.ask("user", &["sumbit", "small.toml"]).await;
    assert_eq!((code, user.stderr().contains("'submit'")), (2, true), "{}", user.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_waits_for_the_outer_step_does_not_say_that_the_job_runs_on() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let id = machines.submit("long.toml").await;
    machines.client.watch(&id).await.until_step(5).await;
    let (code, user) = machines.ask("pause", &["pause", &id]).await;
    assert_eq!(code, 0, "{}", user.stderr());
    let state = user.stdout().lines().find(|line| line.starts_with("state")).expect("its state").to_owned();
    assert!(state.ends_with("running, pauses after the current outer step"), "{state}");
    machines.client.watch(&id).await.until_state(v1::JobState::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_are_not_there_are_named_once_by_each_worker_and_once_in_the_end() {
    let machines = Machines::new().await;
    let args = ["train", "small.toml"];
    let mut train = Process::start(programs::lookbehind(), &args, &machines.path("."), "train");
    assert_eq!(train.exit().await, 1, "{}", train.stderr());
    let said = train.stderr();
    let error = said.lines().find(|line| line.starts_with("error: ")).expect("an error");
    assert_eq!(error.matches("small.safetensors").count(), 1, "{error}");
    // One or both workers refuse the job, its last event says why it failed, and so does the error of the command.
    assert!((3..=4).contains(&said.matches("small.safetensors").count()), "{said}");
}
