use std::collections::BTreeMap;
use std::net::SocketAddr;

use lookbehind_common::ids::{JobId, SessionId};
use ring::hmac;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::state::JobState;
use crate::state::event::LossCause;
use crate::state::observation::{JobMove, LostWorker};

const SECRET: &[u8] = b"a secret of some length";

/// A request that a receiver got.
#[derive(Debug)]
struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    async fn read(stream: &mut TcpStream) -> Self {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).await.expect("a request");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("text");
        let pairs = head.lines().filter_map(|line| line.split_once(": "));
        let headers: BTreeMap<_, _> =
            pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect();
        let mut body = vec![0; headers["content-length"].parse().expect("a number")];
        stream.read_exact(&mut body).await.expect("a body");
        Self { headers, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Whether a receiver with this secret takes a body for genuine.
    fn is_genuine(&self, secret: &[u8], body: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signature = self.headers["lookbehind-signature"].strip_prefix("v1=").expect("a version");
        let digits = |at: usize| u8::from_str_radix(&signature[at..at + 2], 16).expect("hex");
        let signature: Vec<u8> = (0..signature.len()).step_by(2).map(digits).collect();
        let signed = [self.headers["lookbehind-timestamp"].as_bytes(), b".", body].concat();
        hmac::verify(&key, &signed, &signature).is_ok()
    }
}

/// A receiver on this machine.
struct TestReceiver {
    listener: TcpListener,
    address: SocketAddr,
}

impl TestReceiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self { listener, address }
    }

    /// Takes a request and answers it.
    async fn answer(&self, status: &str) -> Request {
        let (mut stream, _) = self.listener.accept().await.expect("a connection");
        let request = Request::read(&mut stream).await;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("an open connection");
        request
    }
}

/// Webhooks that are sent to a receiver; retries come at once.
struct Sending {
    webhooks: Webhooks,
    counts: WebhookCounts,
    _folder: TempDir,
}

impl Sending {
    fn to(receiver: &TestReceiver) -> Self {
        let none = Duration::ZERO;
        Self::with(receiver, Terms { pause: none, longest_pause: none, ..Terms::default() })
    }

    fn with(receiver: &TestReceiver, terms: Terms) -> Self {
        Self::at(&format!("http://{}/hidden", receiver.address), terms)
    }

    fn at(url: &str, terms: Terms) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, [SECRET, b"\n"].concat()).expect("a file");
        let url = url.parse().expect("a URL");
        let config = WebhookConfig { urls: vec![url], secret_file };
        let counts = WebhookCounts::default();
        let source = Source { cluster: "c".into(), incarnation: 3 };
        let webhooks = Webhooks::start_with(&config, source, counts.clone(), terms).expect("webhooks");
        Self { webhooks, counts, _folder: folder }
    }

    fn job_ends(&self, to: JobState) {
        self.webhooks.note(UnixMillis(1_500), &Observation::JobMoved(moved(Some(JobState::Running), to)));
    }

    /// Waits until all events have had an outcome.
    async fn sent(&self) {
        self.webhooks.shutdown(Duration::from_secs(600)).await;
    }
}

fn moved(from: Option<JobState>, to: JobState) -> JobMove {
    let job = JobId::from_entropy(1);
    JobMove { job, from, to, after: None, name: "digits".into(), owner: "ada".into(), message: "why".into() }
}

#[tokio::test]
async fn an_event_names_the_job_and_is_signed_with_its_time() {
    let receiver = TestReceiver::new().await;
    let sending = Sending::to(&receiver);
    sending.job_ends(JobState::Failed);
    let request = receiver.answer("200 OK").await;
    let job = JobId::from_entropy(1).to_string();
    let expected = serde_json::json!({
        "id": "c-3-1", "event": "job_failed", "at": "1970-01-01T00:00:01.500Z", "cluster": "c", "message": "why",
        "job": { "id": job, "name": "digits", "owner": "ada", "state": "failed" },
    });
    assert_eq!(request.json(), expected);
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["lookbehind-event-id"], "c-3-1");
    assert!(request.is_genuine(SECRET, &request.body), "the line feed is not part of the secret");
    assert!(!request.is_genuine(b"another secret", &request.body));
    assert!(!request.is_genuine(SECRET, b"{}"), "another body");
}

#[tokio::test]
async fn an_event_is_sent_again_until_the_receiver_takes_it() {
    let receiver = TestReceiver::new().await;
    let sending = Sending::to(&receiver);
    sending.job_ends(JobState::Succeeded);
    let mut bodies = Vec::new();
    for status in ["500 Oh", "429 Later", "503 Busy", "204 Thanks"] {
        bodies.push(receiver.answer(status).await.body);
    }
    sending.sent().await;
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same event");
    assert_eq!((sending.counts.with("delivered"), sending.counts.with("failed")), (1, 0));
}

#[tokio::test]
async fn a_refusal_and_a_redirect_are_final_and_the_next_event_is_sent() {
    let receiver = TestReceiver::new().await;
    let elsewhere = TestReceiver::new().await;
    let sending = Sending::to(&receiver);
    for state in [JobState::Succeeded, JobState::Failed, JobState::Paused] {
        sending.job_ends(state);
    }
    let redirect = format!("307 Elsewhere\r\nlocation: http://{}/", elsewhere.address);
    let mut events = Vec::new();
    for status in ["410 Gone", &redirect, "200 OK"] {
        events.push(receiver.answer(status).await.json()["event"].clone());
    }
    sending.sent().await;
    assert_eq!(events, ["job_succeeded", "job_failed", "job_paused"]);
    assert_eq!((sending.counts.with("delivered"), sending.counts.with("failed")), (1, 2));
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_and_its_queue_is_bounded() {
    let receiver = TestReceiver::new().await;
    let patience = Duration::from_millis(20);
    let terms = Terms { queue: 2, attempts: 2, pause: Duration::ZERO, patience, ..Terms::default() };
    let sending = Sending::with(&receiver, terms);
    // Nobody accepts the connections.
    (0..10).for_each(|_| sending.job_ends(JobState::Succeeded));
    let dropped = sending.counts.with("dropped");
    assert!((7..=8).contains(&dropped), "{dropped}: two wait, and one may be on its way");
    sending.sent().await;
    assert_eq!(sending.counts.with("failed"), 10 - dropped, "they are given up");
    assert_eq!(sending.counts.with("delivered"), 0);
}

#[tokio::test]
async fn nothing_is_sent_in_plain_text_to_a_receiver_whose_connections_are_to_be_encrypted() {
    const TLS_HANDSHAKE: u8 = 22;
    let receiver = TestReceiver::new().await;
    let url = format!("https://{}/", receiver.address);
    let sending = Sending::at(&url, Terms { attempts: 1, ..Terms::default() });
    sending.job_ends(JobState::Succeeded);
    let (mut stream, _) = receiver.listener.accept().await.expect("a connection");
    assert_eq!(stream.read_u8().await.expect("a byte"), TLS_HANDSHAKE);
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("an open connection");
    drop(stream);
    sending.sent().await;
    assert_eq!((sending.counts.with("delivered"), sending.counts.with("failed")), (0, 1));
}

#[tokio::test]
async fn entering_and_leaving_a_degraded_mode_is_told() {
    let receiver = TestReceiver::new().await;
    let sending = Sending::to(&receiver);
    sending.webhooks.degraded(UnixMillis(0), "storage", Some("the disk is full"));
    sending.webhooks.degraded(UnixMillis(0), "storage", None);
    let (entered, left) = (receiver.answer("200 OK").await.json(), receiver.answer("200 OK").await.json());
    let told = |event: &Value| ["event", "mode", "message"].map(|key| event[key].as_str().map(str::to_owned));
    assert_eq!(told(&entered), ["degraded", "storage", "the disk is full"].map(|word| Some(word.to_owned())));
    assert_eq!(told(&left), ["recovered", "storage", ""].map(|word| Some(word.to_owned())));
}

fn lost(session: u64, draining: bool) -> Observation {
    let (session, worker) = (SessionId(session), format!("w{session}").into());
    Observation::WorkerLost(LostWorker { session, worker, cause: LossCause::Silent, job: None, draining })
}

#[test]
fn only_the_loss_of_the_last_worker_is_told_and_not_a_departure() {
    let mut watch = Watch::default();
    let joined = |session| Observation::WorkerJoined(SessionId(session), "w".into());
    assert_eq!(watch.note(&joined(1)), None);
    assert_eq!(watch.note(&joined(2)), None);
    assert_eq!(watch.note(&lost(1, false)), None);
    let event = watch.note(&lost(2, false)).expect("the last one");
    assert_eq!(event.name(), "workers_lost");
    assert_eq!(watch.note(&lost(2, false)), None, "it is told once");
    assert_eq!(watch.note(&joined(3)), None);
    assert_eq!(watch.note(&lost(3, true)), None, "it had said that it would leave");
}

#[test]
fn a_job_that_was_restored_or_only_begins_is_not_told() {
    let mut watch = Watch::default();
    let restored = moved(None, JobState::Succeeded);
    let begins = moved(Some(JobState::Queued), JobState::Preparing);
    for moved in [restored, begins] {
        assert_eq!(watch.note(&Observation::JobMoved(moved)), None);
    }
}

#[test]
fn a_short_secret_is_refused_and_a_receiver_is_shown_without_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "short\n").expect("a file");
    let refused = Secret::read(&file).err().expect("a short secret").to_string();
    assert!(refused.contains("at least 16 bytes, found 5"), "{refused}");
    let url: ReceiverUrl = "https://host:81/services/token?key=1".parse().expect("a URL");
    assert_eq!(url.origin(), "https://host:81");
    let exposed = |url: &str| url.parse::<ReceiverUrl>().expect("a URL").is_exposed();
    assert!(exposed("http://example.com/") && exposed("http://10.0.0.1/"));
    assert!(!exposed("https://example.com/") && !exposed("http://127.0.0.1:9/") && !exposed("http://[::1]/"));
    for wrong in ["ftp://host/secret", "https://user:secret@host/", "/secret", "https://"] {
        let refused = wrong.parse::<ReceiverUrl>().expect_err("no receiver").to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
