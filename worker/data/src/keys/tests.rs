use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::test_support::parameters;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    train: String,
    #[serde(default)]
    label: String,
}

#[test]
fn an_unknown_key_is_answered_with_all_that_there_are() {
    let given = parameters(json!({ "train": "a", "label_smooth": 0.1 }));
    let error = parse::<Kind>(&given, &["resize"]).unwrap_err().to_string();
    let expected = "data.label_smooth: unknown field `label_smooth`, expected one of `kind`, `shuffle`, `drop_last`, \
                    `train`, `label`, `resize`, `normalize`, `augment`, `label_smoothing`, `resplit`, `limit`, `validation`, \
                    `label_noise`";
    assert_eq!(error, expected);
}

#[test]
fn values_are_checked_as_ever() {
    let kind: Kind = parse(&parameters(json!({ "train": "a" })), &[]).unwrap();
    assert_eq!((kind.train.as_str(), kind.label.as_str()), ("a", ""));
    let error = parse::<Kind>(&parameters(json!({ "train": 3 })), &[]).unwrap_err().to_string();
    assert!(error.starts_with("data.train: invalid type: integer `3`"), "{error}");
}
