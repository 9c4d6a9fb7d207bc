use http_body_util::{BodyExt, StreamBody};
use lookbehind_telemetry::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::super::super::callers::Who;
use super::super::budget::{Account, Budget};
use super::*;

const PATIENCE: Duration = Duration::from_millis(500);

/// A request under way: what the caller sends, and what the service sees.
struct Request {
    sender: mpsc::Sender<Result<Frame<Bytes>, Status>>,
    received: Received,
    ledger: Arc<Ledger>,
}

fn request(shape: Shape) -> Request {
    let (sender, receiver) = mpsc::channel(100);
    let body = Body::new(StreamBody::new(ReceiverStream::new(receiver)));
    let ledger = Arc::new(Ledger::open(
        &Arc::new(Budget::default()),
        &Arc::new(Account::of_connection()),
        &Who::Anyone,
    ));
    let observer =
        Arc::new(Observer::new(&mut Registry::default(), Traces::default(), Duration::from_secs(1)));
    let received = Received::new(body, shape, PATIENCE, Arc::clone(&ledger), observer);
    Request { sender, received, ledger }
}

/// The beginning of a message of `length` bytes, with `sent` of its bytes.
fn message(length: u32, sent: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(PREFIX + sent, 1);
    bytes.into()
}

impl Request {
    async fn send(&self, bytes: impl Into<Bytes>) {
        self.sender.send(Ok(Frame::data(bytes.into()))).await.unwrap();
    }

    /// The length of the next frame.
    async fn next(&mut self) -> Result<usize, Code> {
        let frame = self.received.frame().await.expect("a frame").map_err(|status| status.code())?;
        Ok(frame.into_data().expect("data").len())
    }
}

/// Whether a transfer that sends `bytes` each second is let go on.
fn endures(bytes: usize) -> bool {
    let begin = Instant::now();
    let mut pace = Pace::new(Duration::from_secs(8));
    (0..1000).all(|second| {
        let now = begin + Duration::from_secs(second);
        let end = pace.wait(now);
        let next = now + Duration::from_secs(1);
        pace.stop(next);
        pace.credit(bytes);
        next < end
    })
}

#[test]
fn a_transfer_goes_on_as_long_as_it_keeps_the_least_rate() {
    assert!(!endures(0));
    assert!(!endures(256));
    assert!(!endures(60 << 10));
    assert!(endures(65 << 10));
    assert!(endures(100 << 20));
}

#[test]
fn only_the_wait_for_the_sender_counts() {
    let begin = Instant::now();
    let mut pace = Pace::new(PATIENCE);
    let second = PATIENCE / 8;
    for hour in 0..3 {
        let now = begin + Duration::from_secs(3600) * hour;
        assert_eq!(pace.wait(now), now + PATIENCE - second * hour);
        assert_eq!(pace.wait(now + second / 2), now + PATIENCE - second * hour, "asked again, the same");
        pace.stop(now + second);
    }
    pace.renew();
    assert_eq!(pace.wait(begin), begin + PATIENCE);
}

#[tokio::test]
async fn what_is_begun_and_not_completed_ends() {
    let shapes = [
        Shape::Message { largest: 100 },
        Shape::Conversation { largest: 100 },
        Shape::Transfer { largest: 100, gathered: 100 },
    ];
    for shape in shapes {
        let mut request = request(shape);
        request.send(message(100, 50)).await;
        assert_eq!(request.next().await, Ok(55));
        assert_eq!(request.next().await, Err(Code::DeadlineExceeded), "{shape:?}");
    }
}

#[tokio::test]
async fn a_conversation_may_pause_between_messages() {
    let mut conversation = request(Shape::Conversation { largest: 100 });
    let mut transfer = request(Shape::Transfer { largest: 100, gathered: 100 });
    conversation.send(message(10, 10)).await;
    transfer.send(message(10, 10)).await;
    assert_eq!((conversation.next().await, transfer.next().await), (Ok(15), Ok(15)));
    // The transfer is over its time before anything else comes.
    tokio::select! {
        biased;
        ended = conversation.next() => panic!("the conversation ended with {ended:?}"),
        ended = transfer.next() => assert_eq!(ended, Err(Code::DeadlineExceeded)),
    }
    conversation.send(message(10, 10)).await;
    assert_eq!(conversation.next().await, Ok(15));
}

#[tokio::test]
async fn a_message_that_announces_too_much_is_refused_before_it_comes() {
    for (shape, length) in [
        (Shape::Message { largest: 100 }, 101),
        (Shape::Conversation { largest: 100 }, u32::MAX),
        (Shape::Transfer { largest: 100, gathered: 10 }, 101),
    ] {
        let mut request = request(shape);
        request.send(message(100, 100)).await;
        assert_eq!(request.next().await, Ok(105));
        // Cut within the prefix.
        let second = message(length, 0);
        request.send(second.slice(..3)).await;
        assert_eq!(request.next().await, Ok(3));
        request.send(second.slice(3..)).await;
        assert_eq!(request.next().await, Err(Code::OutOfRange), "{shape:?}");
    }
}

#[tokio::test]
async fn the_ledger_holds_what_is_announced_and_not_taken_over_yet() {
    // One message is kept until the answer.
    let mut one = request(Shape::Message { largest: 100 });
    one.send(message(50, 20)).await;
    one.next().await.unwrap();
    assert_eq!((one.ledger.taken(), one.received.held), (55, 55));
    one.send(vec![1; 30]).await;
    one.next().await.unwrap();
    assert_eq!(one.ledger.taken(), 55);
    let mut at_once = request(Shape::Message { largest: 100 });
    at_once.send(message(50, 50)).await;
    at_once.next().await.unwrap();
    assert_eq!(at_once.ledger.taken(), 55);
    // Of several, the one that is not complete counts, with all its length, and the newest bytes.
    let mut several = request(Shape::Conversation { largest: 100 });
    // Of a transfer, not more than the service gathers.
    let mut transfer = request(Shape::Transfer { largest: 100, gathered: 10 });
    for request in [&mut several, &mut transfer] {
        request.send([message(50, 50), message(50, 20)].concat()).await;
        request.next().await.unwrap();
    }
    assert_eq!((several.ledger.taken(), transfer.ledger.taken()), (55 + 80, 15 + 10));
    for request in [&mut several, &mut transfer] {
        request.send(vec![1; 30]).await;
        request.next().await.unwrap();
    }
    assert_eq!((several.ledger.taken(), transfer.ledger.taken()), (30, 10));
}

#[tokio::test]
async fn a_long_message_of_a_conversation_counts_for_what_it_takes_when_it_is_read() {
    for (length, weight) in [(PLAIN - PREFIX, 1), (PLAIN, WEIGHT)] {
        let mut conversation = request(Shape::Conversation { largest: 1 << 20 });
        conversation.send(message(length as u32, 10)).await;
        conversation.next().await.unwrap();
        assert_eq!(conversation.ledger.taken(), weight * (PREFIX + length) + PREFIX + 10, "{length} bytes");
    }
}
