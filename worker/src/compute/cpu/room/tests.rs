use super::*;

#[test]
fn what_a_shard_takes_follows_from_what_small_ones_took() {
    let sizes = [2, 6];
    assert_eq!(extrapolated(&[100], sizes, 50), 100, "at least what was seen");
    assert_eq!(extrapolated(&[100, 80], sizes, 50), 80, "without what stays from the first time on");
    assert_eq!(extrapolated(&[100, 80, 120], sizes, 50), 120 + 44 * 10);
    assert_eq!(extrapolated(&[100, 80, 70], sizes, 50), 70, "less for more samples is noise");
    assert_eq!(extrapolated(&[9, 9, 9], [1, 1], 1), 9);
    assert_eq!(extrapolated(&[], sizes, 50), 0);
}
