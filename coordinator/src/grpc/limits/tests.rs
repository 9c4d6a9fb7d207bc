use super::*;

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

fn fill(slots: &Arc<Slots>, caller: &Caller) -> Vec<Slot> {
    std::iter::from_fn(|| slots.take(caller).ok()).take(100).collect()
}

#[test]
fn one_user_gets_a_quarter_and_an_administrator_is_always_let_in() {
    let slots = Slots::new("downloads", 8);
    let alice = fill(&slots, &user("alice"));
    assert_eq!(alice.len(), 2);
    let status = slots.take(&user("alice")).unwrap_err();
    assert_eq!(status.message(), "downloads of one user: the limit of 2 is reached; try again later");
    let others: Vec<Slot> =
        ["bob", "carol", "dave"].iter().flat_map(|name| fill(&slots, &user(name))).collect();
    assert_eq!(others.len(), 6);
    let status = slots.take(&user("erin")).unwrap_err();
    assert_eq!(status.message(), "downloads: the limit of 8 is reached; try again later");
    assert_eq!(fill(&slots, &Caller::Admin("root".into())).len(), 8);
    drop(alice);
    assert_eq!(fill(&slots, &user("erin")).len(), 2, "what became free is there for others");
}

#[test]
fn without_credentials_only_the_whole_is_limited() {
    let slots = Slots::new("uploads", 8);
    let held = fill(&slots, &Caller::Anyone);
    assert_eq!(held.len(), 8);
    drop(held);
    assert_eq!(fill(&slots, &Caller::Anyone).len(), 8);
}
