use lookbehind_telemetry::probe::Probe;

use super::*;

#[tokio::test]
async fn plain_text_that_other_machines_reach_must_be_asked_for() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7072", "[::ffff:192.0.2.1]:7072"] {
        let error = Server::bind(address.parse().unwrap(), None, false).await.unwrap_err();
        assert!(matches!(error, ServeError::Plaintext { .. }), "{address}: {error}");
        assert!(error.to_string().contains(address) && error.to_string().contains("--plaintext"), "{error}");
    }
    Server::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
    Server::bind("0.0.0.0:0".parse().unwrap(), None, true).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let first = Server::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
    let error = Server::bind(first.address(), None, false).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen {}: ", first.address())), "{error}");
}

#[tokio::test]
async fn a_worker_is_ready_while_it_is_registered() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
    let (metrics, end) = (WorkerMetrics::default(), CancellationToken::new());
    let probe = Probe { address: server.address(), certificate: None };
    let serving = tokio::spawn(server.serve(metrics.clone(), end.clone()));
    let unready = "not ready: not registered with the coordinator";
    assert_eq!(probe.ask().await.unwrap_err().to_string(), unready);
    let session = metrics.registered();
    probe.ask().await.unwrap();
    drop(session);
    assert_eq!(probe.ask().await.unwrap_err().to_string(), unready);
    end.cancel();
    serving.await.unwrap();
}
