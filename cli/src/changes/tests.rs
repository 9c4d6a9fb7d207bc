use super::*;
use crate::fake_test::source;

#[test]
fn changed_added_and_removed_keys_are_named_with_both_values() {
    let earlier = source().file().clone();
    let mut now = earlier.clone();
    assert_eq!(between(&earlier, &now), "");
    now.train.epochs = Some(30);
    now.optimizer.rho = Some(0.2);
    now.model.parameters.remove("hidden");
    assert_eq!(
        between(&earlier, &now),
        "model.hidden is absent and was [16], optimizer.rho is 0.2 and was absent, train.epochs is 30 and was 20"
    );
}

#[test]
fn many_changes_are_counted() {
    let earlier = source().file().clone();
    let mut now = earlier.clone();
    now.data.parameters.extend((0..7).map(|n| (format!("key{n}"), n.into())));
    assert!(between(&earlier, &now).ends_with("and was absent and 2 more"), "{}", between(&earlier, &now));
}

#[test]
fn a_seed_that_toml_does_not_have_is_named_like_others() {
    let earlier = source().file().clone();
    let mut now = earlier.clone();
    now.seed = Some(u64::MAX);
    assert!(between(&earlier, &now).starts_with("seed is 18446744073709551615 and was "));
}
