use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);
/// Over as soon as somebody waits for it.
const AT_ONCE: Duration = Duration::from_millis(1);

fn is_waiting(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_download_waits_until_the_one_before_it_is_complete() {
    let turns = Turns::new(Pace::default());
    let first = turns.take(NEVER).await;
    assert!(is_waiting(turns.take(NEVER)));
    first.complete();
    turns.take(NEVER).await.complete();
}

#[tokio::test]
async fn a_download_whose_caller_has_gone_passes_its_turn_on() {
    let turns = Turns::new(Pace::default());
    drop(turns.take(NEVER).await);
    turns.take(NEVER).await.complete();
}

#[tokio::test]
async fn a_caller_that_goes_away_while_it_waits_does_not_hold_up_those_behind_it() {
    let turns = Turns::new(Pace::default());
    let first = turns.take(NEVER).await;
    let mut impatient = Box::pin(turns.take(NEVER));
    assert!(is_waiting(impatient.as_mut()));
    let behind = turns.take(NEVER);
    drop(impatient);
    first.complete();
    behind.await.complete();
}

#[tokio::test]
async fn a_download_that_never_ends_loses_its_turn_though_nothing_was_measured() {
    let turns = Turns::new(Pace::default());
    let _stalled = turns.take(AT_ONCE).await;
    turns.take(NEVER).await.complete();
}

#[tokio::test]
async fn a_download_that_never_ends_loses_its_turn_after_a_multiple_of_what_an_earlier_one_took() {
    let pace = Pace::default();
    Turns::new(pace.clone()).take(NEVER).await.complete();
    // The next version of the weights: the pace is that of the job.
    let turns = Turns::new(pace);
    let _stalled = turns.take(NEVER).await;
    turns.take(NEVER).await.complete();
}

#[test]
fn the_pace_is_that_of_the_newest_download_which_kept_its_turn() {
    let pace = Pace::default();
    let limit = pace.limit(NEVER);
    assert_eq!(limit, NEVER);
    pace.note(Duration::from_secs(4), limit);
    pace.note(Duration::from_secs(2), pace.limit(NEVER));
    assert_eq!(pace.limit(NEVER), Duration::from_secs(6));
}

#[test]
fn a_download_on_a_slow_link_raises_the_pace_at_most_twofold() {
    let pace = Pace::default();
    pace.note(Duration::from_secs(2), NEVER);
    pace.note(Duration::from_secs(1000), pace.limit(NEVER));
    assert_eq!(pace.limit(NEVER), Duration::from_secs(12));
    pace.note(Duration::from_secs(2), pace.limit(NEVER));
    assert_eq!(pace.limit(NEVER), Duration::from_secs(6));
}
