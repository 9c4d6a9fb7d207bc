//! Whose identity is accepted: certificates, authorities, and unencrypted calls.

use lookbehind_identity::{Access, Folder, Mismatch, Refusal};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::guarded::{self, Credentials, client};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;

/// Why no encrypted connection is made with these credentials.
async fn refusal(url: &str, folder: std::path::PathBuf) -> String {
    let access = Access::new(url, Some(Folder::new(folder))).unwrap();
    let status = match access.connect(&access.endpoint()).await {
        Ok(_) => panic!("connected"),
        Err(error) => Status::from_error(error.into()),
    };
    Refusal::of(&status).unwrap_or_else(|| panic!("not refused by TLS: {status:?}")).to_string()
}

/// The other protocol that a caller finds in plain text at an address.
async fn spoken_at(url: &str) -> Option<Refusal> {
    let access = Access::new(url, None).unwrap();
    let calls = access.connect(&access.endpoint()).await.expect("something listens there");
    let refused = JobServiceClient::new(calls).list_jobs(v1::ListJobsRequest::default()).await;
    Refusal::of(&refused.expect_err("no coordinator answers in plain text"))
}

async fn list(client: &Client) -> Result<(), Status> {
    client.jobs().list_jobs(v1::ListJobsRequest::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_over_tls_ends_with_the_weights_that_it_always_ends_with() {
    let (mut cluster, credentials) = guarded::cluster().await;
    for name in ["w1", "w2"] {
        let backend = cluster.backend(Registry::builtin());
        cluster.add_as(name, backend, &credentials.folder("worker")).await;
    }
    let alice = client(cluster.url(), &credentials.folder("alice"));
    let history = alice.run(&jobs::small()).await;
    assert_eq!(history.digest(), small_digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_nothing_is_said_where_no_tokens_are_taken() {
    let credentials = Credentials::new();
    std::fs::remove_file(credentials.folder("coordinator").join("tokens.toml")).unwrap();
    let cluster = guarded::with(&credentials).await;
    let anonymous = credentials.only("alice", &["ca.pem"], "anonymous");
    let reason = refusal(cluster.url(), anonymous).await;
    assert!(reason.contains("CertificateRequired"), "{reason}");
    list(cluster.client()).await.expect("the admin is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_not_trusted_on_either_side() {
    let (cluster, credentials) = guarded::cluster().await;
    let strangers = Credentials::new();
    let reason = refusal(cluster.url(), strangers.folder("alice")).await;
    assert!(
        reason.contains("its certificate is not trusted") && reason.contains("UnknownIssuer"),
        "{reason}"
    );
    let pretender = strangers.only("alice", &["cert.pem", "key.pem"], "pretender");
    std::fs::copy(credentials.folder("alice").join("ca.pem"), pretender.join("ca.pem")).unwrap();
    let reason = refusal(cluster.url(), pretender).await;
    assert!(reason.contains("does not accept this side's credentials"), "{reason}");
    list(cluster.client()).await.expect("the admin is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_not_trusted_on_either_side() {
    let credentials = Credentials::new();
    let cluster = guarded::with(&credentials).await;
    // Certificates expire at a full second: these have expired when the next second begins.
    credentials.expire("alice");
    within("alice's certificate to expire", async {
        while list(&client(cluster.url(), &credentials.folder("alice"))).await.is_ok() {}
    })
    .await;
    let reason = refusal(cluster.url(), credentials.folder("alice")).await;
    assert!(reason.contains("CertificateExpired"), "{reason}");
    let expired = Credentials::lasting(0);
    let old = guarded::with(&expired).await;
    // Without a client certificate, so that only the coordinator's certificate can be refused.
    let bob = expired.only("bob", &["ca.pem", "token"], "bob-by-token");
    let reason = within("the coordinator's certificate to expire", async {
        loop {
            let access = Access::new(old.url(), Some(Folder::new(bob.clone()))).unwrap();
            if let Err(error) = access.connect(&access.endpoint()).await {
                break Refusal::of(&error).unwrap().to_string();
            }
        }
    })
    .await;
    assert!(reason.contains("its certificate is not trusted: certificate expired"), "{reason}");
    list(cluster.client()).await.expect("the admin is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_resumed_so_that_certificates_are_verified_each_time() {
    let (cluster, credentials) = guarded::cluster().await;
    let access = Access::new(cluster.url(), Some(Folder::new(credentials.folder("alice")))).unwrap();
    let connector = TlsConnector::from(access.client_config().unwrap());
    for _ in 0..2 {
        let address = cluster.url().rsplit('/').next().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        // After this, everything has arrived that a client needs to resume the session later.
        within("the coordinator's settings", stream.read_exact(&mut [0; 9])).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_to_an_encrypted_port_and_tls_to_a_plain_one_are_told_apart() {
    let (cluster, credentials) = guarded::cluster().await;
    let plain = cluster.url().replace("https", "http");
    assert_eq!(spoken_at(&plain).await, Some(Refusal::Protocol(Mismatch::Tls)));
    let open = Cluster::new().await;
    let reason = refusal(&open.url().replace("http", "https"), credentials.folder("alice")).await;
    assert_eq!(reason, Mismatch::PlainText.to_string());
    list(cluster.client()).await.expect("the admin is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_of_the_pages_is_told_from_that_of_grpc() {
    let open = Cluster::with_config(|config| config.http = Some("127.0.0.1:0".parse().unwrap())).await;
    let url = format!("http://{}", open.http_addr().expect("pages"));
    let refusal = spoken_at(&url).await;
    assert!(matches!(refusal, Some(Refusal::Protocol(Mismatch::Http(Some(_))))), "{refusal:?}");
    // A server that does not know HTTP/2 at all answers in the words of HTTP/1.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // Reads to the end, because a connection that is closed over unread bytes is reset.
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    });
    assert_eq!(spoken_at(&url).await, Some(Refusal::Protocol(Mismatch::Http(None))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_pretends_to_be_the_coordinator_is_found_out() {
    let credentials = Credentials::new();
    // A worker's certificate, which is valid for the same address and of the same authority.
    let pretender = credentials.only("worker", &["cert.pem", "key.pem", "ca.pem"], "pretender");
    let cluster =
        Cluster::guarded(&credentials.folder("admin"), |config| config.credentials = Some(pretender)).await;
    let error = list(cluster.client()).await.unwrap_err();
    let words = format!("{error:?}");
    assert!(words.contains("not of a coordinator"), "{words}");
}

#[tokio::test]
async fn plain_text_does_not_leave_the_machine_unless_that_was_asked_for() {
    let state = tempfile::tempdir().unwrap();
    let mut config = lookbehind_coordinator::Config::new(state.path().to_owned());
    config.listen = "0.0.0.0:0".parse().unwrap();
    let error = config.check().unwrap_err().to_string();
    assert!(error.starts_with("listen: ") && error.contains("--plaintext"), "{error}");
    config.plaintext = true;
    config.check().unwrap();
    config.plaintext = false;
    config.private = true;
    let error = config.check().unwrap_err().to_string();
    assert!(error.starts_with("listen: "), "{error}");
    config.private = false;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.http = Some("[::]:0".parse().unwrap());
    let error = config.check().unwrap_err().to_string();
    assert!(error.starts_with("http: "), "{error}");
}
