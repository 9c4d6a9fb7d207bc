use std::convert::Infallible;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::routing::{get, post};
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::test_support::{SelfSigned, Served};

/// Far below the default limits, so that tests reach them.
const SHORT: Duration = Duration::from_millis(200);

/// Connections of one address that may wait for a request, with the default limits.
const WAITING: usize = 16;

fn quick() -> Limits {
    Limits {
        handshake: SHORT,
        quiet: SHORT,
        body: SHORT,
        stalled: SHORT,
        closing: SHORT,
        ..Limits::default()
    }
}

fn routes() -> Router {
    Router::new()
        .route("/peer", get(|Extension(peer): Extension<Peer>| async move { peer.encrypted.to_string() }))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/panic", get(broken))
        .route("/slow", get(slow))
        .route("/endless", get(endless))
}

async fn broken() {
    panic!("a handler's mistake");
}

async fn slow() -> &'static str {
    tokio::time::sleep(SHORT * 3).await;
    "slow"
}

async fn endless() -> Body {
    let chunk = Bytes::from_static(&[0; 64 * 1024]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone())))
}

/// Sends bytes and returns everything that the server sends until it closes; empty if it resets the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    rest(stream).await
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_once(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn both_versions_of_http_are_answered_in_plain_text() {
    let served = Served::start(routes(), Limits::default(), None).await;
    let answer = exchange(served.address, &get_once("/peer")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("false"), "{answer}");

    let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://test/peer").body(Body::empty()).unwrap();
    let answer = client.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "false");
    connection.abort();
    served.end().await;
}

#[tokio::test]
async fn no_answer_may_be_taken_for_another_type_of_content() {
    let served = Served::start(routes(), Limits { body_bytes: 10, ..Limits::default() }, None).await;
    let large =
        b"POST /echo HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 11\r\n\r\n01234567890";
    for request in [get_once("/peer"), get_once("/nothing"), get_once("/panic"), large.to_vec()] {
        let answer = exchange(served.address, &request).await;
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
}

#[tokio::test]
async fn more_answers_than_there_may_be_are_refused_until_one_ends() {
    let served = Served::start(routes(), Limits { connections: 1, ..Limits::default() }, None).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(&get_once("/endless")).await.unwrap();
    first.read_exact(&mut [0; 1024]).await.unwrap();
    let answer = exchange(served.address, &get_once("/peer")).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    served.counted.refused(1).await;
    drop(first);
    served.counted.open(0).await;
    let answer = exchange(served.address, &get_once("/peer")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn silent_connections_make_room_for_a_request() {
    let served = Served::start(routes(), Limits::default(), None).await;
    let certificate = SelfSigned::new();
    let (_newest, tls) = watch::channel(certificate.config());
    let encrypted = Served::start(routes(), Limits::default(), Some(tls)).await;
    let mut silent = Vec::new();
    for begun in
        ["", "GET /peer HTTP/1.1\r\nhost: te", "POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\n"]
    {
        // More than all places, waiting and others.
        for _ in 0..400 {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            silent.push(stream);
        }
        let answer = exchange(served.address, &get_once("/peer")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{begun:?}: {answer}");
    }
    for _ in 0..400 {
        silent.push(TcpStream::connect(encrypted.address).await.unwrap());
    }
    // The places are taken by connections without a handshake as well.
    encrypted.counted.open(WAITING).await;
}

#[tokio::test]
async fn a_connection_with_a_request_under_way_makes_no_room() {
    let served = Served::start(routes(), Limits::default(), None).await;
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    busy.write_all(&get_once("/endless")).await.unwrap();
    busy.read_exact(&mut [0; 1024]).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    served.counted.open(WAITING + 1).await;
    busy.read_exact(&mut vec![0; 10 << 20]).await.unwrap();
}

#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed() {
    let served = Served::start(routes(), quick(), None).await;
    for begun in ["", "G", "PRI * HTTP/2.0", "GET /peer HTTP/1.1\r\nhost: te"] {
        assert_eq!(exchange(served.address, begun.as_bytes()).await, "", "{begun:?}");
    }
    // An HTTP/2 server sends its settings and a GOAWAY.
    exchange(served.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    served.counted.open(0).await;
}

#[tokio::test]
async fn a_request_may_take_longer_than_a_connection_may_be_quiet() {
    let served = Served::start(routes(), quick(), None).await;
    let answer = exchange(served.address, &get_once("/slow")).await;
    assert!(answer.ends_with("slow"), "{answer}");
}

#[tokio::test]
async fn bodies_that_are_late_or_large_are_refused() {
    let served = Served::start(routes(), Limits { body_bytes: 5, ..quick() }, None).await;
    let post = |length: usize, body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let answer = exchange(served.address, post(5, "whole").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("whole"), "{answer}");
    let answer = exchange(served.address, post(6, "larger").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = exchange(served.address, post(5, "late").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let served = Served::start(routes(), quick(), None).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&get_once("/endless")).await.unwrap();
    served.counted.open(1).await;
    served.counted.open(0).await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_although_its_bytes_are_acknowledged() {
    let served = Served::start(routes(), quick(), None).await;
    let stream = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://test/endless").body(Body::empty()).unwrap();
    let _unread = client.send_request(request).await.unwrap();
    served.counted.open(0).await;
    connection.await.unwrap().ok();
}

#[tokio::test]
async fn a_handler_that_panics_harms_no_other_request() {
    let served = Served::start(routes(), Limits::default(), None).await;
    let answer = exchange(served.address, &get_once("/panic")).await;
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.ends_with("the server made a mistake\n"),
        "{answer}"
    );
    let answer = exchange(served.address, &get_once("/peer")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_endless_answer_does_not_hold_up_the_end() {
    let served = Served::start(routes(), quick(), None).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&get_once("/endless")).await.unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    let reading = tokio::spawn(rest(stream));
    served.end().await;
    reading.await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_fails_or_takes_too_long_delays_no_other_connection() {
    let certificate = SelfSigned::new();
    let (_newest, tls) = watch::channel(certificate.config());
    let served = Served::start(routes(), quick(), Some(tls)).await;
    let silent = TcpStream::connect(served.address).await.unwrap();
    served.counted.open(1).await;
    let answer = exchange(served.address, &get_once("/peer")).await;
    assert!(!answer.contains("HTTP"), "{answer}");
    assert_eq!(rest(silent).await, "");
    served.counted.no_tls(2).await;
    served.counted.open(0).await;
}
