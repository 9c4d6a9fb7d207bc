use proptest::prelude::*;

use super::*;

fn rules(shares: &[(&str, u32)]) -> Sharing {
    let shares = shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
    Sharing { shares, ..Sharing::default() }
}

fn divided(workers: usize, demand: &[(&'static str, usize)], rules: &Sharing) -> Vec<usize> {
    divide(workers, &demand.iter().copied().collect(), rules).into_values().collect()
}

#[test]
fn workers_are_divided_in_proportion_to_shares_and_by_name_where_they_do_not_come_out_even() {
    let equal = rules(&[]);
    assert_eq!(divided(8, &[("a", 9), ("b", 9)], &equal), [4, 4]);
    assert_eq!(divided(7, &[("a", 9), ("b", 9)], &equal), [4, 3]);
    let weighted = rules(&[("a", 3)]);
    assert_eq!(divided(8, &[("a", 9), ("b", 9)], &weighted), [6, 2]);
    assert_eq!(divided(1, &[("a", 9), ("b", 9)], &rules(&[("b", 2)])), [0, 1]);
}

#[test]
fn what_one_user_cannot_use_goes_to_the_others() {
    assert_eq!(divided(8, &[("a", 1), ("b", 9), ("c", 9)], &rules(&[("a", 100)])), [1, 4, 3]);
    assert_eq!(divided(8, &[("a", 2), ("b", 0)], &rules(&[])), [2, 0], "nobody gets what nobody can use");
}

proptest! {
    #[test]
    fn nobody_gets_more_than_they_can_use_and_nobody_who_wants_one_more_has_a_worker_less_than_fair(
        workers in 0_usize..40,
        wanted in prop::collection::vec(0_usize..20, 1..5),
        shares in prop::collection::vec(1_u32..5, 5),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let demand: BTreeMap<&str, usize> = names.into_iter().zip(wanted).collect();
        let shares: Vec<_> = names.into_iter().zip(shares).collect();
        let rules = rules(&shares);
        let given = divide(workers, &demand, &rules);
        prop_assert_eq!(given.values().sum::<usize>(), workers.min(demand.values().sum()));
        for (owner, held) in &given {
            prop_assert!(held <= &demand[owner]);
            for (other, has) in given.iter().filter(|(_, has)| **has > 0) {
                let is_short = held < &demand[owner];
                let envied = claim(*held, rules.share(owner)) < claim(has - 1, rules.share(other));
                prop_assert!(!(is_short && envied), "{owner} would have been next, not {other}");
            }
        }
    }
}

#[test]
fn who_has_had_least_for_their_share_is_next_and_nobody_saves_up_turns() {
    let mut turns = Turns::default();
    let second = Duration::from_secs(1);
    turns.keep(&BTreeSet::from(["a", "b"]));
    turns.charge("a", 4, second, 1);
    turns.charge("b", 4, second, 2);
    assert!(turns.of("b") < turns.of("a"));
    turns.charge("b", 8, second, 2);
    assert!(turns.of("b") > turns.of("a"));
    assert_eq!(turns.of("new"), turns.of("a"), "beside the one who has had least");
    turns.keep(&BTreeSet::from(["b"]));
    turns.keep(&BTreeSet::from(["a", "b"]));
    assert_eq!(
        turns.of("a"),
        turns.of("b"),
        "one who was away does not come back with what they did not take"
    );
}
