use super::super::parameters::Delimiter;
use super::*;

fn read(text: &str, decimal: char, thousands: Option<char>) -> Option<f32> {
    number(text, &Dialect { delimiter: Delimiter::Found, quote: b'"', decimal, thousands })
}

#[test]
fn numbers_are_read_as_the_dialect_writes_them() {
    for (text, decimal, thousands, expected) in [
        ("1.5", '.', None, Some(1.5)),
        ("-3e2", '.', None, Some(-300.0)),
        ("1,5", '.', None, None),
        ("1,5", ',', None, Some(1.5)),
        ("-1,5e1", ',', None, Some(-15.0)),
        ("15", ',', None, Some(15.0)),
        ("1.5", ',', None, None),
        ("1.234,5", ',', Some('.'), Some(1234.5)),
        ("1.234", ',', Some('.'), Some(1234.0)),
        ("1.23", ',', Some('.'), None),
        ("1,234,567.5", '.', Some(','), Some(1_234_567.5)),
        ("-1,234", '.', Some(','), Some(-1234.0)),
        ("1,23", '.', Some(','), None),
        (",234", '.', Some(','), None),
        ("1e99", '.', None, None),
        ("inf", '.', None, None),
        ("", '.', None, None),
    ] {
        assert_eq!(read(text, decimal, thousands), expected, "{text:?}");
    }
}

#[test]
fn classes_may_be_written_with_a_fraction_of_zeros() {
    for (text, expected) in [
        ("3", Some(3)),
        ("3.0", Some(3)),
        ("3.", Some(3)),
        ("1e1", Some(10)),
        ("3.5", None),
        ("-1", None),
        ("nan", None),
        ("5e9", None),
    ] {
        assert_eq!(class(text), expected, "{text:?}");
    }
}

#[test]
fn the_usual_signs_of_a_missing_value_are_known() {
    assert!(["", "NA", "N/A", "NaN", "null", "None", "?", "#N/A", "-"].into_iter().all(is_missing));
    assert!(!["0", "x", "nothing", "-1"].into_iter().any(is_missing));
}
