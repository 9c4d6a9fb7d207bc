use super::thin;

#[test]
fn few_stay_as_they_are() {
    assert_eq!(thin(vec![1, 2, 3], 3, |_| false), [1, 2, 3]);
}

#[test]
fn of_many_the_first_the_last_and_those_that_must_stay_are_left() {
    let thinned = thin((1..=1000).collect(), 10, |item| *item == 555);
    assert_eq!((thinned[0], thinned[thinned.len() - 1]), (1, 1000));
    assert!(thinned.contains(&555) && thinned.len() <= 12, "{thinned:?}");
}
