//! Limits: calls beyond them are refused, and everything else keeps running.

use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use lookbehind_tests::client::Client;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::fake_worker::{FakeWorker, hello};
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_rate_are_refused_until_it_falls() {
    let cluster = Cluster::of(1).await;
    let mut jobs = Client::new(cluster.url()).jobs();
    let mut refused = None;
    for _ in 0..200_000 {
        if let Err(status) = jobs.list_workers(v1::ListWorkersRequest {}).await {
            refused = Some(status);
            break;
        }
    }
    // On a machine where no caller is fast enough to be refused, the limit is not needed.
    if let Some(status) = refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("calls per second"), "{status}");
        cluster.still_works().await;
        while jobs.list_workers(v1::ListWorkersRequest {}).await.is_err() {}
    }
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_floods_its_stream_is_given_up() {
    let cluster = Cluster::of(1).await;
    let mut flooding = FakeWorker::register(cluster.client(), hello("flooding")).await.unwrap();
    for sequence in 0..5000 {
        flooding.try_say(Message::Heartbeat(v1::Heartbeat { sequence, progress: 0 })).await;
    }
    let last = flooding.next().await;
    assert!(
        matches!(&last, Some(v1::session_response::Message::Refused(refused))
            if refused.reason.contains("more messages")),
        "{last:?}"
    );
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_told_so_and_taken_when_there_is_room() {
    let mut cluster = Cluster::with_config(|config| config.max_connections = 4).await;
    let backend = cluster.backend(lookbehind_worker::registry::Registry::builtin());
    cluster.add("w1", backend).await;
    let mut clients = Vec::new();
    let refused = loop {
        let client = Client::new(cluster.url());
        let answer = client.jobs().list_workers(v1::ListWorkersRequest {}).await;
        clients.push(client);
        match answer {
            Ok(_) => assert!(clients.len() < 4, "no connection was refused"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("connections: the limit of 4"), "{refused}");
    drop(clients);
    cluster.still_works().await;
}
