//! Events for receivers outside the cluster.

use lookbehind_coordinator::WebhookConfig;
use lookbehind_tests::client::within;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small;
use lookbehind_worker::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Takes one request, answers it, and returns its head and body.
async fn take(receiver: &TcpListener) -> (String, Value) {
    let (mut stream, _) = receiver.accept().await.unwrap();
    let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the request ended early");
        text.extend(&chunk[..length]);
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            return (head.to_ascii_lowercase(), body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_job_is_told_with_a_signature() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = TempDir::new().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "a secret of some length").unwrap();
    let urls = vec![format!("http://{}/", receiver.local_addr().unwrap()).parse().unwrap()];
    let mut cluster =
        Cluster::with_config(|config| config.webhooks = Some(WebhookConfig { urls, secret_file })).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("worker", backend).await;
    let id = cluster.client().submit(&small()).await;
    let (head, event) = within("an event", take(&receiver)).await;
    assert_eq!((&event["event"], &event["job"]["id"]), (&"job_succeeded".into(), &id.as_str().into()));
    for header in ["lookbehind-signature: v1=", "lookbehind-timestamp: ", "lookbehind-event-id: "] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(cluster.client().finish(&id).await.message(), event["message"]);
}
