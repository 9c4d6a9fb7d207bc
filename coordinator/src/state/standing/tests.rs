use std::sync::Arc;

use super::*;

fn account(name: &str) -> Account {
    Account::new(Some(&Arc::from(name)), &Arc::from("worker"))
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn three_failures_in_a_row_keep_an_account_away_for_longer_and_longer() {
    let mut standings = Standings::default();
    let mallory = account("mallory");
    for _ in 0..2 {
        standings.note_failure(&mallory, at(1));
        assert!(!standings.is_kept_away(&mallory, at(1)));
    }
    standings.note_failure(&mallory, at(1));
    assert!(standings.is_kept_away(&mallory, at(60)) && !standings.is_kept_away(&mallory, at(61)));
    standings.note_failure(&mallory, at(100));
    assert!(standings.is_kept_away(&mallory, at(219)) && !standings.is_kept_away(&mallory, at(220)));
    assert!(!standings.is_kept_away(&account("alice"), at(100)));
    standings.note_prepared(&mallory);
    standings.note_failure(&mallory, at(100));
    assert!(!standings.is_kept_away(&mallory, at(100)), "not in a row");
}

#[test]
fn a_penalty_is_kept_for_the_next_session_and_forgotten_after_a_while() {
    let mut standings = Standings::default();
    let mallory = account("mallory");
    standings.note_missed(&mallory, 3, at(80), at(10));
    standings.note_missed(&mallory, 1, at(20), at(12));
    assert_eq!(standings.missed(&mallory, at(100)), (3, at(80)));
    assert_eq!(standings.missed(&mallory, at(700)), (0, at(0)));
}

#[test]
fn the_number_of_accounts_is_limited_and_the_gravest_are_kept() {
    let mut standings = Standings::default();
    standings.note_missed(&account("mallory"), 9, at(10_000), at(1));
    for number in 0..1000 {
        standings.note_missed(&account(&format!("{number}")), 1, at(0), at(2));
    }
    assert_eq!(standings.0.len(), REMEMBERED);
    assert_eq!(standings.missed(&account("mallory"), at(3)).0, 9);
}
