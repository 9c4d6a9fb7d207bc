//! Invalid input that the programs refuse, and their exit codes.

use lookbehind_proto::v1;
use lookbehind_tests::jobs::{MLP_CASES, SMALL_JOB, parity};
use lookbehind_tests::process::Process;
use lookbehind_tests::reference::{read_tensors, relative_error};
use tempfile::TempDir;

use lookbehind_tests::machines::Machines;
use lookbehind_tests::programs;

/// Changes to the small job's file that make it invalid, with the key that the error must name.
const IMPOSSIBLE: [(&str, &str, &str); 24] = [
    ("seed = 3", "sede = 3", "sede"),
    ("seed = 3", "seed = -3", "seed"),
    ("seed = 3", "seed = 1.5", "seed"),
    ("seed = 3", "seed = 99999999999999999999", "seed"),
    ("name = \"small\"", "", "name"),
    ("name = \"small\"", "name = 7", "name"),
    ("name = \"small\"", "name = \"../../small\"", "name"),
    ("name = \"small\"", "name = \"a\\u0000b\"", "name"),
    ("kind = \"mlp\"", "", "model"),
    ("hidden = [16]", "init = \"nowhere.safetensors\"", "model.init"),
    ("batch_size = 24", "batch_size = 0", "train.batch_size"),
    ("batch_size = 24", "batch_size = -24", "train.batch_size"),
    ("batch_size = 24", "batch_size = 9223372036854775807", "train.batch_size"),
    ("batch_size = 24", "batch_size = \"24\"", "train.batch_size"),
    ("shards = 8", "shards = 0", "train.shards"),
    ("shards = 8", "shards = 4294967296", "train.shards"),
    ("shards = 8", "shrads = 8", "shrads"),
    ("epochs = 2", "", "train.epochs"),
    ("rho = 0.05", "rho = nan", "optimizer.rho"),
    ("rho = 0.05", "rho = inf", "optimizer.rho"),
    ("rho = 0.05", "rho = 1e300", "optimizer.rho"),
    ("alpha = 0.5", "alpha = \"adaptiv\"", "optimizer.alpha"),
    ("method = \"lookbehind\"", "method = \"lookbehnid\"", "optimizer.method"),
    ("lr = 0.1", "lr = -0.1", "optimizer.base.lr"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_job_file_is_refused_by_file_and_key_before_the_coordinator_hears_of_it() {
    let machines = Machines::new().await;
    for (number, (found, changed, key)) in IMPOSSIBLE.iter().enumerate() {
        assert!(SMALL_JOB.contains(found));
        std::fs::write(machines.path("bad.toml"), SMALL_JOB.replacen(found, changed, 1)).unwrap();
        let (code, user) = machines.ask("bad", &["submit", "bad.toml"]).await;
        assert_eq!(code, 2, "case {number}, {changed}: {}", user.stderr());
        for word in ["bad.toml", key] {
            assert!(user.stderr().contains(word), "case {number}: expected {word:?} in {}", user.stderr());
        }
    }
    for bytes in [b"this is = = no TOML".as_slice(), &[0xff, 0xfe, 0], &vec![b'#'; 2 << 20]] {
        std::fs::write(machines.path("bad.toml"), bytes).unwrap();
        let (code, user) = machines.ask("bad", &["submit", "bad.toml"]).await;
        assert_eq!((code, user.stderr().contains("bad.toml")), (2, true), "{}", user.stderr());
    }
    let (code, user) = machines.ask("bad", &["submit", "missing.toml"]).await;
    assert_eq!((code, user.stderr().contains("missing.toml")), (2, true), "{}", user.stderr());
    let listed = machines.client.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap();
    assert!(listed.into_inner().jobs.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_and_a_job_that_is_not_there_have_exit_codes_of_their_own() {
    let machines = Machines::new().await;
    let _worker = machines.worker("a").await;
    let missing = SMALL_JOB.replace("small.safetensors", "missing.safetensors");
    std::fs::write(machines.path("missing.toml"), missing).unwrap();
    let (code, user) = machines.ask("failing", &["submit", "missing.toml", "--watch"]).await;
    assert_eq!(code, 1, "{}", user.stderr());
    assert!(user.stderr().contains("missing.safetensors"), "{}", user.stderr());
    let (code, user) = machines.ask("unknown", &["job", "j00000000"]).await;
    assert_eq!((code, user.stderr().contains("j00000000")), (4, true), "{}", user.stderr());
    let (code, user) = machines.ask("malformed", &["job", "../../etc/passwd"]).await;
    assert_eq!(code, 2, "{}", user.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_cannot_do_their_part_say_why_and_end_with_a_code_of_its_own() {
    let machines = Machines::new().await;
    let taken = machines.url.strip_prefix("http://").unwrap();
    let cases: [(&str, &[&str], i32, &str); 12] = [
        (programs::coordinator(), &["--state", "other", "--listen", taken], 78, taken),
        (programs::coordinator(), &["--state", "other", "--failure-detection", "0"], 78, "failure-detection"),
        (programs::coordinator(), &["--state", "other", "--max-workers", "0"], 78, "max-workers"),
        (programs::coordinator(), &["--state", "small.toml"], 78, "small.toml"),
        (programs::worker(), &["--coordinator", "not an address"], 78, "not an address"),
        (programs::worker(), &["--http", "0.0.0.0:0"], 78, "--plaintext"),
        (programs::worker(), &["--data", "nowhere"], 78, "data nowhere: No such file"),
        (programs::worker(), &["--data", "small.toml"], 78, "data small.toml: not a directory"),
        (programs::worker(), &["--http", taken], 78, taken),
        ("env", &["LOOKBEHIND_LOG=loud", programs::worker()], 78, "LOOKBEHIND_LOG=\"loud\""),
        (
            "env",
            &["LOOKBEHIND_LOG=loud", programs::coordinator(), "--state", "other"],
            78,
            "LOOKBEHIND_LOG=\"loud\"",
        ),
        (programs::lookbehind(), &["jobs", "--coordinator", "http://127.0.0.1:1"], 3, "127.0.0.1:1"),
    ];
    for (program, args, expected, said) in cases {
        let mut process = Process::start(program, args, &machines.path("."), "failing");
        let code = process.exit().await;
        assert_eq!(code, expected, "{args:?}: {}", process.stderr());
        assert!(process.stderr().contains(said), "{args:?}: {}", process.stderr());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parity_jobs_train_as_they_stand() {
    let folder = TempDir::with_prefix("lookbehind-train-").unwrap();
    for case in MLP_CASES {
        let job = parity(case).join("job.toml");
        let args = ["train", job.to_str().unwrap(), "--out", case];
        let mut train = Process::start(programs::lookbehind(), &args, folder.path(), "train");
        assert_eq!(train.exit().await, 0, "{case}: {}", train.stderr());
        let got = read_tensors(&folder.path().join(case).join("model.safetensors"));
        let [expected, init] =
            ["expected", "init"].map(|file| read_tensors(&parity(case).join(format!("{file}.safetensors"))));
        let error = relative_error(&got, &expected, &init);
        assert!(error <= 1e-4, "{case}: off by {error:.1e} of the distance moved");
    }
}
