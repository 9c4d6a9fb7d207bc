use super::*;
use crate::transfer::Sender;
use crate::v1;

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a body in memory made its reader wait"),
    }
}

fn header() -> v1::StateHeader {
    v1::StateHeader { parameters: 250, statistics: 0 }
}

fn transfer() -> Frames<Sender> {
    Frames::transfer(&header(), Sender::new([Bytes::from(vec![7; 1000])], b""))
}

/// Reads all events of a body.
fn read(body: Body) -> Result<Vec<Event>, IncomingError> {
    let mut incoming = Incoming::new(body);
    let mut events = Vec::new();
    while let Some(event) = now(incoming.next())? {
        events.push(event);
    }
    Ok(events)
}

/// A body that consists of the given frames.
fn body(frames: Vec<Frame<Bytes>>) -> Body {
    struct Fixed(std::vec::IntoIter<Frame<Bytes>>);
    impl http_body::Body for Fixed {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.next().map(Ok))
        }
    }
    Body::new(Fixed(frames.into_iter()))
}

fn trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    Frame::trailers(trailers)
}

#[test]
fn requests_and_responses_carry_the_same_transfer() {
    let (request, response) = (read(request(transfer())).unwrap(), read(response(transfer())).unwrap());
    assert_eq!(request, response);
    assert!(matches!(
        &request[..],
        [Event::Header(_), Event::Chunk { .. }, Event::Data(_), Event::Trailer(_)]
    ));
}

#[test]
fn a_response_says_that_all_went_well_and_a_request_says_nothing() {
    let mut response = response(Frames::message(&header()));
    let mut frames = Vec::new();
    while let Some(frame) = now(poll_fn(|context| Pin::new(&mut response).poll_frame(context))) {
        frames.push(frame.unwrap());
    }
    let status = Status::from_header_map(frames[1].trailers_ref().unwrap()).unwrap();
    assert_eq!((frames.len(), status.code()), (2, Code::Ok));
    let mut request = request(Frames::message(&header()));
    let _ = now(poll_fn(|context| Pin::new(&mut request).poll_frame(context)));
    assert!(request.is_end_stream());
}

#[test]
fn an_error_at_the_end_of_a_call_is_told() {
    let bytes: Vec<Frame<Bytes>> = transfer().take(2).map(Frame::data).collect();
    let failed = body(bytes.into_iter().chain([trailers(&Status::not_found("gone"))]).collect());
    assert!(matches!(read(failed), Err(IncomingError::Call(status)) if status.code() == Code::NotFound));
}

#[test]
fn a_call_that_ends_within_a_message_is_an_error() {
    let cut = body(transfer().take(2).map(Frame::data).collect());
    assert!(matches!(read(cut), Err(IncomingError::Call(status)) if status.code() == Code::Internal));
}

#[test]
fn a_small_message_is_read_whole_or_not_at_all() {
    let sent: Vec<Bytes> = Frames::message(&header()).collect();
    assert_eq!(now(message::<v1::StateHeader>(request(Frames::message(&header())))).unwrap(), header());
    let bytes = sent.concat();
    let halves = vec![
        Frame::data(Bytes::copy_from_slice(&bytes[..3])),
        Frame::data(Bytes::copy_from_slice(&bytes[3..])),
    ];
    assert_eq!(now(message::<v1::StateHeader>(body(halves))).unwrap(), header());
    let refused =
        |bytes: Vec<u8>| now(message::<v1::StateHeader>(body(vec![Frame::data(bytes.into())]))).unwrap_err();
    assert_eq!(refused(bytes[..4].to_vec()).code(), Code::Internal);
    assert_eq!(refused(bytes[..7].to_vec()).code(), Code::Internal);
    assert_eq!(refused([&bytes[..], &bytes].concat()).code(), Code::Internal);
    assert_eq!(refused([&[1], &bytes[1..]].concat()).code(), Code::Unimplemented);
    assert_eq!(refused(vec![0; MAX_SMALL_BYTES + 1]).code(), Code::OutOfRange);
    assert_eq!(now(message::<v1::StateHeader>(body(Vec::new()))).unwrap_err().code(), Code::Internal);
}
