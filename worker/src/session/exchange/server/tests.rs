use lookbehind_common::blocks::BLOCK_ELEMENTS;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::ids::SessionId;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_identity::SocketName;
use lookbehind_identity::peers::{PeerCertificate, Place, channel};
use lookbehind_proto::transfer::blocks::BlockReader;
use lookbehind_proto::transfer::frames::Frames;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::session::exchange::listener::Listening;
use crate::session::exchange::round::tests::put_round;
use crate::session::route;

const TICKET: [u8; 16] = [7; 16];

fn ticket(bytes: [u8; 16]) -> Ticket {
    Ticket::from_bytes(&bytes).unwrap()
}

async fn listening(is_guarded: bool) -> Listening {
    let own = [127, 0, 0, 1].into();
    Listening::start((own, 0).into(), own, None, is_guarded, WorkerMetrics::default()).await.unwrap()
}

/// A connection to a worker as another one would open it.
fn connect(to: &Listening, own: Option<&PeerCertificate>) -> Channel {
    let endpoint = to.endpoint();
    let fingerprint = Fingerprint::from_bytes(&endpoint.fingerprint);
    let secured = own.map(|own| (own, fingerprint.unwrap()));
    let place = Place { address: endpoint.address, socket: SocketName::from_bytes(&endpoint.socket) };
    channel(&Endpoint::from_static("http://worker"), place, secured).unwrap()
}

async fn fetch_partial(channel: Channel, ticket: &[u8], range: (u32, u32)) -> Result<Body, Status> {
    let request = v1::FetchPartialRequest {
        ticket: ticket.to_vec().into(),
        segment: Some(Segment { first: 0, end: 1 }.into()),
        blocks: Some(v1::BlockRange { first: range.0, end: range.1 }),
        session: 1,
        caller: 2,
    };
    let call = body::call(SERVICE_NAME, "FetchPartial", body::request(Frames::message(&request)))?;
    Ok(route::call(channel, call).await?.into_body())
}

/// The partial that this worker computes, with values that tell its elements apart.
fn partial() -> Partial {
    let values: Vec<f32> = (0..2 * BLOCK_ELEMENTS + 3).map(|element| element as f32).collect();
    Partial { gradient: values.into(), ..Partial::default() }
}

async fn offers(round: &Round) {
    let digests = round.offer(Segment { first: 0, end: 1 }, partial());
    let gradient = partial().gradient;
    let values = ModelState { parameters: &gradient[..], statistics: &[] };
    assert_eq!(digests, round.partial_blocks.digests(values));
}

#[tokio::test]
async fn a_worker_of_the_request_gets_the_blocks_of_a_partial_once_it_is_computed() {
    for is_guarded in [false, true] {
        let listening = listening(is_guarded).await;
        let own = is_guarded.then(|| PeerCertificate::create().unwrap());
        let fingerprint = own.as_ref().map(PeerCertificate::fingerprint);
        let round = put_round(&listening.board, ticket(TICKET), fingerprint);
        let channel = connect(&listening, own.as_ref());
        let fetching = tokio::spawn(fetch_partial(channel, &TICKET, (1, 3)));
        offers(&round).await;
        let body = fetching.await.unwrap().unwrap();
        let range = BlockRange::new(1, 3).unwrap();
        let mut reader = BlockReader::new(body, range);
        let mut found = Vec::new();
        while let Some(number) = reader.next_number() {
            let mut block = FlatBuffer::zeros(round.partial_blocks.place(number).1.len());
            reader.read(block.as_bytes_mut()).await.unwrap();
            found.extend_from_slice(&block);
        }
        assert_eq!(found, partial().gradient[BLOCK_ELEMENTS..]);
    }
}

#[tokio::test]
async fn another_ticket_and_blocks_that_there_are_not_are_refused() {
    let listening = listening(false).await;
    put_round(&listening.board, ticket(TICKET), None);
    let channel = connect(&listening, None);
    let refused = fetch_partial(channel.clone(), &[8; 16], (0, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let short = fetch_partial(channel.clone(), b"short", (0, 1)).await.unwrap_err();
    assert_eq!((short.code(), short.message()), (refused.code(), refused.message()));
    // The ticket of a former request.
    put_round(&listening.board, ticket([9; 16]), None);
    let former = fetch_partial(channel.clone(), &TICKET, (0, 1)).await.unwrap_err();
    assert_eq!(former.code(), Code::PermissionDenied);
    for range in [(0, 4), (1, 1), (2, 1)] {
        let invalid = fetch_partial(channel.clone(), &[9; 16], range).await.unwrap_err();
        assert_eq!(invalid.code(), Code::InvalidArgument, "{range:?}");
    }
}

#[tokio::test]
async fn weights_are_passed_on_only_by_their_owner() {
    let listening = listening(false).await;
    put_round(&listening.board, ticket(TICKET), None);
    let channel = connect(&listening, None);
    let request = v1::FetchWeightsRequest {
        ticket: TICKET.to_vec().into(),
        blocks: Some(v1::BlockRange { first: 1, end: 3 }),
        session: 1,
        caller: 2,
    };
    let call = body::call(SERVICE_NAME, "FetchWeights", body::request(Frames::message(&request))).unwrap();
    let refused = route::call(channel, call).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_stolen_ticket_is_worth_nothing_without_the_certificate_of_a_party() {
    let listening = listening(true).await;
    let party = PeerCertificate::create().unwrap();
    put_round(&listening.board, ticket(TICKET), Some(party.fingerprint()));
    let thief = PeerCertificate::create().unwrap();
    let refused = fetch_partial(connect(&listening, Some(&thief)), &TICKET, (0, 1)).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
    assert!(fetch_partial(connect(&listening, None), &TICKET, (0, 1)).await.is_err(), "in plain text");
    // A connection that was opened while its worker took part is worth nothing for a later request without it.
    let channel = connect(&listening, Some(&party));
    let early = put_round(&listening.board, ticket(TICKET), Some(party.fingerprint()));
    offers(&early).await;
    fetch_partial(channel.clone(), &TICKET, (0, 1)).await.unwrap();
    put_round(&listening.board, ticket([9; 16]), Some(thief.fingerprint()));
    let refused = fetch_partial(channel, &[9; 16], (0, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_round_that_ends_ends_its_calls() {
    let listening = listening(false).await;
    put_round(&listening.board, ticket(TICKET), None);
    let fetching = tokio::spawn(fetch_partial(connect(&listening, None), &TICKET, (0, 1)));
    let round = listening.board.find(ticket(TICKET), PATIENCE).await.unwrap();
    assert_eq!(round.own, SessionId(1));
    listening.board.close();
    let ended = fetching.await.unwrap();
    assert!(
        matches!(ended, Err(status) if matches!(status.code(), Code::Unavailable | Code::PermissionDenied))
    );
}
