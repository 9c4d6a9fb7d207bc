use std::sync::Arc;

use super::*;

fn account(name: &str) -> Account {
    Account::new(Some(&Arc::from(name)), &Arc::from("worker"))
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn all_workers_of_an_account_may_come_at_once_and_then_one_each_second() {
    let mut arrivals = Arrivals::default();
    let admitted = |arrivals: &mut Arrivals, name: &str, workers, seconds| {
        (0..1000).filter(|_| arrivals.admit(account(name), workers, at(seconds))).count()
    };
    assert_eq!(admitted(&mut arrivals, "a", 4, 0), 32);
    assert_eq!(admitted(&mut arrivals, "b", 256, 0), 256);
    assert_eq!(admitted(&mut arrivals, "a", 4, 5), 5);
    assert_eq!(admitted(&mut arrivals, "a", 4, 1000), 32);
}

#[test]
fn accounts_that_have_not_come_lately_are_not_kept() {
    let mut arrivals = Arrivals::default();
    let came =
        |arrivals: &mut Arrivals, number: usize, now| arrivals.admit(account(&format!("{number}")), 1, now);
    assert!((0..COUNTED).all(|number| came(&mut arrivals, number, at(0))));
    assert!(!came(&mut arrivals, COUNTED, at(0)));
    assert!(came(&mut arrivals, COUNTED, at(2)));
    assert_eq!(arrivals.0.len(), 1);
}
