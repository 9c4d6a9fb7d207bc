use lookbehind_common::digest::Digest;

use super::*;
use crate::exit::Exit;
use crate::fake_test::{Fake, Script};

#[tokio::test]
async fn an_address_where_nothing_listens_is_reported_as_such() {
    // A port that was free a moment ago, so that probably no server listens on it.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect(&format!("http://{address}")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach a coordinator at http://{address}: ")), "{text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
    assert_eq!(error.exit(), Exit::Unreachable);
}

#[tokio::test]
async fn an_address_that_is_none_is_wrong_usage() {
    assert_eq!(Client::connect("not a url").await.unwrap_err().exit(), Exit::Usage);
}

#[tokio::test]
async fn a_job_is_offered_again_under_the_same_identity() {
    let fake = Fake::start(Script { create_failures: 1, ..Script::default() });
    let client = Client::connect(&fake.url()).await.unwrap();
    client.create_job("one", v1::JobSpec::default()).await.unwrap();
    assert_eq!(fake.heard(|script| script.created.clone()), ["one", "one"]);
}

#[tokio::test]
async fn a_refusal_says_what_was_asked_and_why_not() {
    let fake = Fake::start(Script::default());
    let client = Client::connect(&fake.url()).await.unwrap();
    let error = client.cancel("j12345678").await.unwrap_err();
    assert_eq!(error.to_string(), "cancel: there is no job j12345678");
    assert_eq!(error.exit(), Exit::Refused);
}

#[tokio::test]
async fn all_pages_of_jobs_are_read_up_to_the_limit() {
    let fake = Fake::start(Script { listed: 250, ..Script::default() });
    let client = Client::connect(&fake.url()).await.unwrap();
    let jobs = async |limit| client.jobs(v1::ListJobsRequest::default(), limit).await.unwrap();
    let (all, has_more) = jobs(1000).await;
    assert_eq!((all.len(), has_more), (250, false));
    let (some, has_more) = jobs(120).await;
    assert_eq!((some.len(), some[119].id.as_str(), has_more), (120, "j00000119", true));
    assert!(!jobs(250).await.1, "there are exactly as many");
}

#[tokio::test]
async fn initial_weights_arrive_whole() {
    let fake = Fake::start(Script::default());
    let client = Client::connect(&fake.url()).await.unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let init =
        InitialWeights { path: "init".into(), digest: Digest::of(&bytes), bytes: bytes.clone().into() };
    client.upload(&init).await.unwrap();
    assert!(fake.heard(|script| script.uploaded == bytes));
    let other = InitialWeights { digest: Digest::of(b"other"), ..init };
    assert_eq!(client.upload(&other).await.unwrap_err().exit(), Exit::Refused);
}

#[tokio::test]
async fn an_answer_that_the_coordinator_cannot_serve_now_is_not_taken_for_a_lost_connection() {
    let fake = Fake::start(Script::default());
    let client = Client::connect(&fake.url()).await.unwrap();
    for status in [Status::unavailable("the disk fails"), Status::deadline_exceeded("the disk fails")] {
        let error = client.error("submit", &status);
        assert_eq!(error.to_string(), "submit: the disk fails");
        assert_eq!(error.exit(), Exit::Refused);
    }
}

#[test]
fn an_answer_that_does_not_come_is_a_lost_connection() {
    assert!(is_connection(&Status::from_error(Box::new(NoAnswer))));
}
