use super::*;

#[test]
fn only_ends_are_over() {
    use v1::JobState::{Cancelled, Failed, Paused, Preparing, Queued, Running, Succeeded};
    assert!([Succeeded, Failed, Cancelled].into_iter().all(is_over));
    assert!(![Queued, Preparing, Running, Paused].into_iter().any(is_over));
}

#[test]
fn a_loss_that_explodes_is_told_in_a_few_characters() {
    assert_eq!([2.25, 0.0, 999_999.0, 1e6].map(loss), ["2.2500", "0.0000", "999999.0000", "1.0000e6"]);
    assert_eq!(loss(31_256_741_597_484_334_425_045_462_941_696.0), "3.1257e31");
    assert_eq!([f64::NAN, f64::INFINITY].map(loss), ["NaN", "inf"]);
}
