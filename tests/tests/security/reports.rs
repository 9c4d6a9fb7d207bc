//! What is told of callers who are refused, and of a certificate with which nobody can be let in.

use std::net::SocketAddr;
use std::path::Path;

use lookbehind_proto::v1;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::guarded::{Credentials, client};
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use tempfile::TempDir;
use tonic::Code;

/// What a coordinator's own probe says, and whether that is that it is ready.
async fn probed(address: SocketAddr, credentials: &Path) -> (bool, String) {
    let folder = TempDir::with_prefix("lookbehind-probe-").unwrap();
    let (address, credentials) = (address.to_string(), credentials.to_str().unwrap());
    let args = ["--probe", "--http", &address, "--credentials", credentials, "--state", "none"];
    let mut probe = Process::start(programs::coordinator(), &args, folder.path(), "probe");
    (probe.exit().await == 0, probe.stderr())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_whose_certificate_has_expired_is_not_ready_until_it_is_renewed() {
    let credentials = Credentials::lasting(0);
    let folder = credentials.folder("coordinator");
    let cluster = Cluster::guarded(&credentials.folder("admin"), |config| {
        config.credentials = Some(folder.clone());
        config.http = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let address = cluster.http_addr().unwrap();
    let told = within("the certificate to expire", async {
        loop {
            let (ready, told) = probed(address, &folder).await;
            if !ready && told.contains("expired at") {
                break told;
            }
        }
    })
    .await;
    assert!(told.contains("not ready: the coordinator's certificate") && told.contains("cert.pem"), "{told}");
    credentials.provide(365);
    within("the new certificate to be in force", async {
        // Until then the probe expects another certificate than the one that is served.
        while !probed(address, &folder).await.0 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_is_refused_again_and_again_is_logged_once_with_the_reason() {
    let (credentials, folder) = (Credentials::new(), TempDir::with_prefix("lookbehind-reports-").unwrap());
    let of_coordinator = credentials.folder("coordinator");
    let guard = ["--credentials", of_coordinator.to_str().unwrap()];
    let args = [&["--listen", "127.0.0.1:0", "--http", "off", "--state", "state"][..], &guard].concat();
    let mut coordinator = Process::start(programs::coordinator(), &args, folder.path(), "coordinator");
    let listens = coordinator.logged("coordinator listens address=").await;
    let url = format!("https://{}", listens.split_whitespace().next().unwrap());
    let worker = client(&url, &credentials.folder("worker"));
    for _ in 0..20 {
        let refused = worker.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let told = coordinator.logged("caller refused ").await;
    for words in ["kind=\"forbidden\"", "from=127.0.0.1", "worker"] {
        assert!(told.contains(words), "expected {words:?} in {told}");
    }
    assert_eq!(coordinator.stderr().matches("caller refused").count(), 1, "{}", coordinator.stderr());
}
