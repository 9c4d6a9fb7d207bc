//! Events for receivers behind TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use lookbehind_identity::{Folder, GuardedServer};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::client::{Client, within};
use lookbehind_tests::guarded::Credentials;
use lookbehind_tests::jobs::small;
use lookbehind_tests::process::Process;
use lookbehind_tests::programs;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A receiver with the certificate of a coordinator.
struct Receiver {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Receiver {
    async fn new(credentials: &Credentials) -> Self {
        let server = GuardedServer::load(&Folder::new(credentials.folder("coordinator"))).unwrap();
        let mut config = Arc::unwrap_or_clone(server.http);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes an event and answers it; an error is that of the handshake.
    async fn take(&self) -> std::io::Result<Value> {
        let (stream, _) = self.listener.accept().await?;
        let mut stream = self.acceptor.accept(stream).await?;
        let (mut bytes, mut chunk) = (Vec::new(), [0; 1024]);
        loop {
            let length = stream.read(&mut chunk).await?;
            assert!(length > 0, "the request ended early: {}", String::from_utf8_lossy(&bytes));
            bytes.extend(&chunk[..length]);
            let text = String::from_utf8_lossy(&bytes);
            let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
            if let Some(body) = body {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
                return Ok(body);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_only_to_a_receiver_whose_certificate_is_of_an_authority_that_the_coordinator_trusts() {
    let (trusted, other) = (Credentials::new(), Credentials::new());
    let (receiver, impostor) = (Receiver::new(&trusted).await, Receiver::new(&other).await);
    let folder = TempDir::with_prefix("lookbehind-webhooks-").unwrap();
    std::fs::write(folder.path().join("secret"), "a secret of some length").unwrap();
    let authorities = format!("SSL_CERT_FILE={}", trusted.folder("coordinator").join("ca.pem").display());
    let urls = [&receiver, &impostor].map(|receiver| format!("https://{}/hidden", receiver.address()));
    let args =
        [authorities.as_str(), programs::coordinator(), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let hooks = ["--webhook", &urls[0], "--webhook", &urls[1], "--webhook-secret-file", "secret"];
    let args = [&args[..], &["--state", "state"], &hooks].concat();
    let mut coordinator = Process::start("env", &args, folder.path(), "coordinator");
    let address = coordinator.logged("coordinator listens address=").await;
    let client = Client::new(&format!("http://{}", address.split_whitespace().next().expect("an address")));

    let job = client.create(wire::to_proto(&small())).await.expect("a job");
    client.jobs().cancel_job(v1::CancelJobRequest { job_id: job.id.clone() }).await.expect("a cancelled job");
    let event = within("an event", receiver.take()).await.expect("a connection that is trusted");
    assert_eq!((&event["event"], &event["job"]["id"]), (&"job_cancelled".into(), &job.id.as_str().into()));
    let refused = within("a connection", impostor.take()).await.expect_err("no trust, and so no event");
    assert!(refused.to_string().contains("UnknownCA"), "{refused}");
    let line = coordinator.logged("webhook not delivered yet, it is tried again: ").await;
    assert!(line.contains("UnknownIssuer"), "{line}");
    assert!(!coordinator.stderr().contains("hidden"), "paths may be secret");
}
