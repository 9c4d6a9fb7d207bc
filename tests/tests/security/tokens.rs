//! Tokens: they identify the caller in the header intended for them, and mean nothing elsewhere.

use lookbehind_identity::{Access, Folder};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use lookbehind_tests::guarded::{self, client};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::{Code, Request, Status};

/// Lists jobs over a connection without a certificate, with one piece of metadata.
async fn list_with(url: &str, anonymous: &std::path::Path, key: &str, value: &str) -> Result<(), Status> {
    let access = Access::new(url, Some(Folder::new(anonymous))).unwrap();
    let channel = access.connect(&access.endpoint()).await.unwrap();
    let mut request = Request::new(v1::ListJobsRequest::default());
    let key = MetadataKey::<Ascii>::from_bytes(key.as_bytes()).unwrap();
    request.metadata_mut().insert(key, MetadataValue::try_from(value).unwrap());
    JobServiceClient::new(channel).list_jobs(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_anywhere_but_in_the_authorization_header_is_nothing() {
    let (cluster, credentials) = guarded::cluster().await;
    let anonymous = credentials.only("alice", &["ca.pem"], "anonymous");
    let folder = Folder::new(credentials.folder("alice"));
    let token = folder.token().unwrap().unwrap();
    let secret = token.secret();
    let good = list_with(cluster.url(), &anonymous, "authorization", &format!("Bearer {secret}")).await;
    good.expect("the right place");
    let wrong = [
        ("token", secret.to_owned()),
        ("x-authorization", format!("Bearer {secret}")),
        ("cookie", format!("token={secret}")),
        ("authorization", secret.to_owned()),
        ("authorization", format!("Basic {secret}")),
        ("authorization", format!("Bearer{secret}")),
        ("authorization", "Bearer".to_owned()),
        ("authorization", format!("Bearer {secret}0")),
        ("authorization", format!("Bearer {}", &secret[..secret.len() - 1])),
    ];
    for (key, value) in wrong {
        let status = list_with(cluster.url(), &anonymous, key, &value).await.expect_err(key);
        assert_eq!(status.code(), Code::Unauthenticated, "{key}: {status}");
        assert!(!status.message().contains(secret), "a secret is not repeated: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_token_is_not_a_users_and_a_revoked_one_is_refused() {
    let (cluster, credentials) = guarded::cluster().await;
    let worker = client(cluster.url(), &credentials.only("worker", &["ca.pem", "token"], "by-token"));
    let list = |client: lookbehind_tests::client::Client| async move {
        client.jobs().list_jobs(v1::ListJobsRequest::default()).await.map(drop)
    };
    assert_eq!(list(worker).await.unwrap_err().code(), Code::PermissionDenied);
    let alice = client(cluster.url(), &credentials.only("alice", &["ca.pem", "token"], "alice-by-token"));
    list(alice.clone()).await.unwrap();
    std::fs::write(credentials.folder("coordinator").join("tokens.toml"), "").unwrap();
    // Over the same connection, because a token is checked for each call.
    lookbehind_tests::client::within("the token to be taken back", async {
        while list(alice.clone()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(list(alice).await.unwrap_err().code(), Code::Unauthenticated);
}
