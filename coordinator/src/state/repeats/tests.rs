use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn repetitions_are_counted_and_told_once_in_a_while() {
    let mut repeats = Repeats::default();
    assert!(repeats.admit("worker m leaves", at(0)));
    for _ in 0..99 {
        assert!(!repeats.admit("worker m leaves", at(1)));
    }
    assert!(repeats.admit("worker n leaves", at(1)));
    assert!(repeats.due(at(9)).is_empty());
    assert_eq!(repeats.due(at(10)), ["worker m leaves (100 times)"]);
    assert!(repeats.due(at(20)).is_empty());
    assert!(repeats.admit("worker m leaves", at(21)), "not repeated for a while");
}

#[test]
fn the_number_of_notices_that_are_watched_is_limited() {
    let mut repeats = Repeats::default();
    assert!((0..1000).all(|number| repeats.admit(&format!("{number}"), at(0))));
    assert_eq!(repeats.0.len(), WATCHED);
}
