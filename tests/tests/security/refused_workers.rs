//! Workers whose credentials the coordinator does not accept: they end and say so, instead of asking for ever.

use lookbehind_tests::guarded::{self, Credentials};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_credentials_are_not_accepted_ends_with_a_code_of_its_own_and_says_why() {
    let (cluster, credentials) = guarded::cluster().await;
    let strangers = Credentials::new();
    // A certificate of another authority, which trusts this coordinator.
    let pretender = strangers.only("worker", &["cert.pem", "key.pem"], "pretender");
    std::fs::copy(credentials.folder("worker").join("ca.pem"), pretender.join("ca.pem")).unwrap();
    // A token that this coordinator does not know.
    let other_token = strangers.only("worker", &["token"], "other-token");
    std::fs::copy(credentials.folder("worker").join("ca.pem"), other_token.join("ca.pem")).unwrap();
    let logs = tempfile::tempdir().unwrap();
    for (folder, expected) in [
        (credentials.folder("alice"), "for workers"),
        (pretender, "it does not accept this side's credentials"),
        (other_token, "the token is not known here"),
    ] {
        let folder = folder.to_str().unwrap();
        let args = ["--coordinator", cluster.url(), "--credentials", folder];
        let mut worker = Process::start(programs::worker(), &args, logs.path(), "worker");
        assert_eq!(worker.exit().await, 3, "{folder}: {}", worker.stderr());
        assert!(worker.stderr().contains(expected), "{folder}: expected {expected:?} in {}", worker.stderr());
    }
    assert!(cluster.client().workers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_plain_text_to_a_coordinator_with_tls_is_told_so_in_one_sentence() {
    let (cluster, _credentials) = guarded::cluster().await;
    let url = cluster.url().replace("https", "http");
    let logs = tempfile::tempdir().unwrap();
    let mut worker = Process::start(programs::worker(), &["--coordinator", &url], logs.path(), "worker");
    let said = worker.logged("no coordinator can be reached; trying again").await;
    assert!(said.contains("the server there speaks TLS: its address begins with https://"), "{said}");
    let mut user =
        Process::start(programs::lookbehind(), &["jobs", "--coordinator", &url], logs.path(), "user");
    assert_eq!(user.exit().await, 3, "{}", user.stderr());
    let expected = format!("error: no coordinator answers at {url}: the server there speaks TLS");
    assert!(user.stderr().starts_with(&expected), "{}", user.stderr());
}
