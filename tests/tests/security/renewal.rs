//! New certificates and a new authority are used without a restart, while a job runs.

use lookbehind_proto::v1;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::small_digest;
use lookbehind_tests::guarded::{self, client};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_under_a_running_cluster() {
    let (mut cluster, credentials) = guarded::cluster().await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_as("w1", backend, &credentials.folder("worker")).await;
    let old = credentials.only("alice", &["ca.pem", "cert.pem", "key.pem"], "old-alice");
    let list = async |folder: &std::path::Path| {
        client(cluster.url(), folder).jobs().list_jobs(v1::ListJobsRequest::default()).await
    };
    list(&old).await.expect("the old certificate counts");
    std::fs::remove_dir_all(credentials.folder("ca")).unwrap();
    credentials.provide(365);
    within("the new certificates to be in force", async {
        while list(&credentials.folder("alice")).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    list(&old).await.expect_err("the old authority is no longer trusted");
    // The first worker stayed connected; one that joins now uses the new certificate.
    let backend = cluster.backend(Registry::builtin());
    let admin = client(cluster.url(), &credentials.folder("admin"));
    cluster.add_as("w2", backend, &credentials.folder("worker")).await;
    assert_eq!(admin.run(&jobs::small()).await.digest(), small_digest().await);
}
