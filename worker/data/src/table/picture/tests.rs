use super::*;

#[test]
fn the_shape_of_pixels_is_that_of_their_lists_where_it_is_clear() {
    for (lengths, given, expected) in [
        (&[3, 4][..], None, Some(([1, 3, 4], false))),
        (&[8, 8, 3], None, Some(([3, 8, 8], true))),
        (&[8, 8, 1], None, Some(([1, 8, 8], true))),
        (&[3, 8, 8], None, Some(([3, 8, 8], false))),
        (&[3, 8, 3], None, None),
        (&[8, 8, 4], None, None),
        (&[3, 8, 3], Some(&[3, 3, 8][..]), Some(([3, 3, 8], true))),
        (&[12], None, None),
        (&[12], Some(&[3, 4]), Some(([1, 3, 4], false))),
        (&[12], Some(&[3, 5]), None),
        (&[3, 4], Some(&[4, 3]), None),
        (&[3, 4], Some(&[3, 4, 1, 1]), None),
    ] {
        assert_eq!(shape(lengths, given), expected, "{lengths:?} {given:?}");
    }
}
