//! Parts cover the whole, and an element that a kernel skips is detected.

use super::*;

#[test]
fn parts_come_in_their_order_and_the_last_may_be_shorter() {
    let elements = in_parts(10, 4, |number, part| part.fill(number as f32));
    assert_eq!(elements, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
    let elements = in_parts_of(&[1, 0, 3], |number, part| part.fill(number as f32));
    assert_eq!(elements, [0.0, 2.0, 2.0, 2.0]);
    assert!(in_parts(0, 4, |_, _| panic!("there is no part")).is_empty());
}

#[test]
fn what_is_left_out_is_not_a_number() {
    let elements = in_parts(6, 4, |_, part| part[0] = 1.0);
    assert_eq!(
        elements.iter().map(|element| element.is_nan()).collect::<Vec<_>>(),
        [false, true, true, true, false, true]
    );
}

#[test]
fn a_kernel_that_panics_leaves_no_elements_behind() {
    let half = || in_parts(8, 4, |number, _| assert_eq!(number, 0, "a kernel's fault"));
    assert!(std::panic::catch_unwind(half).is_err());
}
