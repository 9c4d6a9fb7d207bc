use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body as AnyBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

/// Notes that it was dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer that holds something.
struct Given {
    body: AnyBody,
    /// Whether what it holds was dropped.
    dropped: Arc<AtomicBool>,
    /// What the service writes to.
    sender: mpsc::Sender<Bytes>,
    closing: CancellationToken,
}

fn answer() -> Given {
    let (dropped, closing) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let held = Held(Arc::clone(&dropped));
    let (sender, receiver) = mpsc::channel(100);
    let frames = ReceiverStream::new(receiver).map(|data| Ok::<_, std::io::Error>(Frame::data(data)));
    let unread = || std::io::ErrorKind::TimedOut.into();
    let body = limited(StreamBody::new(frames), held, PATIENCE, closing.clone(), unread);
    Given { body: AnyBody::new(body), dropped, sender, closing }
}

/// Waits until something is dropped.
async fn until(dropped: &AtomicBool) {
    let waited = async {
        while !dropped.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.expect("it must be dropped");
}

#[tokio::test]
async fn what_an_answer_holds_is_freed_and_its_connection_closed_when_its_caller_does_not_read() {
    let Given { mut body, dropped, sender, closing } = answer();
    for _ in 0..2 {
        sender.send(Bytes::from_static(b"data")).await.unwrap();
    }
    body.frame().await.unwrap().unwrap();
    assert!(!dropped.load(Ordering::Relaxed));
    // The slot is free although the body is still there.
    until(&dropped).await;
    closing.cancelled().await;
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_that_is_never_read_ends_as_well() {
    let Given { body, dropped, sender: _sender, .. } = answer();
    until(&dropped).await;
    drop(body);
}

#[tokio::test]
async fn an_answer_is_not_over_before_its_last_byte_has_left_the_connection() {
    let Given { mut body, dropped, sender, closing } = answer();
    sender.send(Bytes::from_static(b"data")).await.unwrap();
    drop(sender);
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!((&last[..], dropped.load(Ordering::Relaxed)), (&b"data"[..], false));
    // The connection cannot get rid of it.
    until(&dropped).await;
    closing.cancelled().await;
    drop(last);
}

#[tokio::test]
async fn what_an_answer_holds_is_freed_when_its_last_byte_has_left() {
    let Given { mut body, dropped, sender, closing } = answer();
    sender.send(Bytes::from_static(b"data")).await.unwrap();
    drop(sender);
    drop(body.frame().await.unwrap().unwrap());
    assert!(body.frame().await.is_none());
    drop(body);
    assert!(dropped.load(Ordering::Relaxed) && !closing.is_cancelled());
}

#[tokio::test]
async fn the_time_to_take_a_part_depends_on_its_length_and_does_not_run_while_the_service_is_waited_for() {
    let now = Instant::now();
    let mut open = Open { body: Empty::new(), _kept: (), left: PATIENCE, take_until: None };
    let after = |seconds: u64| now + PATIENCE + Duration::from_secs(seconds);
    let part = |length| Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; length])))));
    open.note(&part(1), now, PATIENCE);
    assert!(!open.is_overdue(now) && open.is_overdue(after(1)));
    // 16 s at 64 KiB per second.
    open.note(&part(1 << 20), now, PATIENCE);
    assert!(!open.is_overdue(after(15)) && open.is_overdue(after(17)));
    open.note(&Poll::Pending, now, PATIENCE);
    assert!(!open.is_overdue(after(1_000_000)));
    open.note(&Poll::Ready(None), now, PATIENCE);
    assert!(open.is_overdue(after(1)));
}

#[tokio::test]
async fn an_answer_that_is_read_in_small_parts_now_and_then_is_overdue_at_last() {
    let begun = Instant::now();
    let mut open = Open { body: Empty::new(), _kept: (), left: PATIENCE, take_until: None };
    // A quarter of a second at the least rate.
    let part = Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 16 << 10])))));
    let mut now = begun;
    let taken = (0..100).position(|_| {
        open.note(&part, now, PATIENCE);
        now += Duration::from_millis(300);
        open.is_overdue(now)
    });
    assert_eq!(taken, Some(3), "50 ms of the 200 ms are lost with each part");
    let mut steady = Open { body: Empty::new(), _kept: (), left: PATIENCE, take_until: None };
    assert!((0..100).all(|_| {
        steady.note(&part, now, PATIENCE);
        now += Duration::from_millis(250);
        !steady.is_overdue(now)
    }));
}
