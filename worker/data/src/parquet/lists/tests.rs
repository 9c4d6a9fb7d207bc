use super::*;

fn elements(levels: &[i16]) -> Vec<Element> {
    levels.iter().map(|&repeated| Element { repeated, value: Some(Stored::Whole(1)) }).collect()
}

#[test]
fn lists_of_equal_lengths_have_these_lengths() {
    assert_eq!(lengths(1, &elements(&[0, 1, 1])), Some(vec![3]));
    assert_eq!(lengths(1, &elements(&[0])), Some(vec![1]));
    assert_eq!(lengths(2, &elements(&[0, 2, 1, 2, 1, 2])), Some(vec![3, 2]));
    assert_eq!(lengths(3, &elements(&[0, 3, 2, 3, 1, 3, 2, 3])), Some(vec![2, 2, 2]));
    assert_eq!(lengths(3, &elements(&[0, 3, 3])), Some(vec![1, 1, 3]));
    assert_eq!(lengths(3, &elements(&[0, 2, 1, 2])), Some(vec![2, 2, 1]));
}

#[test]
fn lists_of_different_lengths_have_none() {
    for levels in [&[0, 2, 1][..], &[0, 1, 2], &[0, 2, 1, 2, 2, 1]] {
        assert_eq!(lengths(2, &elements(levels)), None, "{levels:?}");
    }
}
