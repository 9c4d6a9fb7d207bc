use lookbehind_identity::{Identity, Role};

use super::*;

fn of(role: Role, name: &str) -> Who {
    Who::Known(Identity { name: name.into(), role })
}

fn known(name: &str) -> Who {
    of(Role::User, name)
}

fn connection() -> Arc<Account> {
    Arc::new(Account::of_connection())
}

/// Takes all that a caller can get, over as many connections as are needed.
fn fill(budget: &Arc<Budget>, who: &Who) -> Vec<Ledger> {
    const PART: usize = 1 << 20;
    let connections = std::iter::repeat_with(|| Ledger::open(budget, &connection(), who));
    connections.take(1000).take_while(|ledger| ledger.take(PART).is_ok()).collect()
}

#[test]
fn a_connection_a_caller_and_all_of_its_kind_have_their_limits() {
    let budget = Arc::new(Budget::default());
    let one = Ledger::open(&budget, &connection(), &of(Role::Worker, "worker"));
    assert!(one.take(CONNECTION + 1).is_err(), "more than a connection may have");
    let alice = fill(&budget, &known("alice"));
    assert_eq!(alice.len() << 20, USER);
    let others = ["bob", "carol", "dave"].map(|name| fill(&budget, &known(name)));
    assert_eq!(others.each_ref().map(|held| held.len() << 20), [USER, USERS - 2 * USER, 0]);
    drop(alice);
    assert_eq!(fill(&budget, &known("dave")).len() << 20, USER, "what is given back is there for others");
}

#[test]
fn users_and_workers_and_administrators_take_nothing_from_each_other() {
    let budget = Arc::new(Budget::default());
    let users = ["alice", "bob", "carol"].map(|name| fill(&budget, &known(name)));
    let admins = fill(&budget, &of(Role::Admin, "root"));
    let workers = ["one", "two"].map(|name| fill(&budget, &of(Role::Worker, name)));
    let taken = |held: &[Vec<Ledger>]| held.iter().map(|held| held.len() << 20).sum::<usize>();
    assert_eq!((taken(&users), taken(&[admins]), taken(&workers)), (USERS, ADMINS, WORKERS));
    assert_eq!(workers[0].len() << 20, WORKER, "one identity leaves some to others");
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
        || [&line, &ledger.accounts[1], &budget.users].map(|account| account.used.load(Ordering::Relaxed));
    assert_eq!(used(), [6; 3]);
    drop(ledger);
    assert_eq!(budget.users.used.load(Ordering::Relaxed), 0);
    assert!(budget.callers.lock().unwrap().is_empty(), "no account is kept of callers who are gone");
}
