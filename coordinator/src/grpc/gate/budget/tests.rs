use lookbehind_identity::{Identity, Role};

use super::*;

fn known(name: &str) -> Who {
    Who::Known(Identity { name: name.into(), role: Role::User })
}

fn connection() -> Arc<Account> {
    Arc::new(Account::of_connection())
}

#[test]
fn a_connection_an_identity_and_all_together_have_their_limits() {
    let budget = Arc::new(Budget::default());
    let fill = |who: &Who, most: usize| -> Vec<Ledger> {
        let connections = std::iter::repeat_with(|| Ledger::open(&budget, &connection(), who));
        connections.take(most).take_while(|ledger| ledger.take(CONNECTION).is_ok()).collect()
    };
    let one = Ledger::open(&budget, &connection(), &known("alice"));
    assert!(one.take(CONNECTION + 1).is_err(), "more than a connection may have");
    let alice = fill(&known("alice"), 100);
    assert_eq!(alice.len(), IDENTITY / CONNECTION);
    let bob = fill(&known("bob"), 100);
    assert_eq!(bob.len(), (TOTAL - IDENTITY) / CONNECTION);
    assert!(fill(&known("carol"), 1).is_empty(), "nothing is left");
    drop(alice);
    assert_eq!(
        fill(&known("carol"), 100).len(),
        IDENTITY / CONNECTION,
        "what is given back is there for others"
    );
}

#[test]
fn callers_who_are_not_signed_in_leave_most_of_it_to_others() {
    let budget = Arc::new(Budget::default());
    let unknown = Who::Unknown(Status::unauthenticated("no credentials"));
    let ledger = Ledger::open(&budget, &connection(), &unknown);
    ledger.take(UNKNOWN).unwrap();
    let other = Ledger::open(&budget, &connection(), &unknown);
    let status = other.take(1).unwrap_err();
    assert!(status.message().contains("not signed in"), "{status}");
    Ledger::open(&budget, &connection(), &known("alice")).take(CONNECTION).unwrap();
}

#[test]
fn a_refusal_takes_nothing_and_the_end_of_a_call_gives_all_back() {
    let budget = Arc::new(Budget::default());
    let line = connection();
    let ledger = Ledger::open(&budget, &line, &known("alice"));
    ledger.take(10).unwrap();
    assert!(ledger.take(CONNECTION).is_err());
    ledger.give_back(4);
    let used =
        || [&line, &ledger.accounts[1], &budget.total].map(|account| account.used.load(Ordering::Relaxed));
    assert_eq!(used(), [6; 3]);
    drop(ledger);
    assert_eq!(budget.total.used.load(Ordering::Relaxed), 0);
    assert!(budget.callers.lock().unwrap().is_empty(), "no account is kept of callers who are gone");
}
