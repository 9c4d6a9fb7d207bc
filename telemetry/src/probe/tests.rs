use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::health;
use crate::http::Limits;
use crate::test_support::{SelfSigned, Served};

fn ready() -> Router {
    health::router(|| Ok(()))
}

fn written(folder: &TempDir, certificate: &SelfSigned) -> PathBuf {
    let path = folder.path().join("cert.pem");
    std::fs::write(&path, &certificate.pem).unwrap();
    path
}

#[test]
fn all_addresses_of_the_machine_are_asked_at_the_loopback_one() {
    let cases = [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.1.2.3:4", "10.1.2.3:4")];
    for (listens, asked) in cases {
        assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
    }
}

#[tokio::test]
async fn a_program_that_is_not_ready_says_its_reason() {
    let usable = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&usable);
    let router = health::router(move || match asked.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("no coordinator".to_owned()),
    });
    let served = Served::start(router, Limits::default(), None).await;
    let probe = Probe { address: served.address, certificate: None };
    assert_eq!(probe.ask().await.unwrap_err().to_string(), "not ready: no coordinator");
    usable.store(true, Ordering::Relaxed);
    probe.ask().await.unwrap();
}

#[tokio::test]
async fn no_server_and_another_server_are_distinguished() {
    let served = Served::start(Router::new(), Limits::default(), None).await;
    let probe = Probe { address: served.address, certificate: None };
    let error = probe.ask().await.unwrap_err();
    assert!(matches!(error, ProbeError::Status { status: StatusCode::NOT_FOUND, .. }), "{error}");
    served.end().await;
    let error = probe.ask().await.unwrap_err();
    assert!(matches!(error, ProbeError::Connection { .. }), "{error}");
}

#[tokio::test]
async fn only_the_certificate_of_the_file_is_accepted_and_a_renewed_one_is_served_at_once() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (SelfSigned::new(), SelfSigned::new());
    let (newest, tls) = watch::channel(first.config());
    let served = Served::start(ready(), Limits::default(), Some(tls)).await;
    let probe = Probe { address: served.address, certificate: Some(written(&folder, &first)) };
    probe.ask().await.unwrap();
    newest.send(second.config()).unwrap();
    let error = probe.ask().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    written(&folder, &second);
    probe.ask().await.unwrap();
}

#[tokio::test]
async fn a_file_without_a_certificate_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cert.pem");
    let probe = Probe { address: "127.0.0.1:9".parse().unwrap(), certificate: Some(path.clone()) };
    for content in [None, Some(""), Some("no certificate")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = probe.ask().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    }
}
