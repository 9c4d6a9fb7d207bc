use serde_json::{Value, json};

use super::*;
use crate::test_support::parameters;

fn taken(given: Value) -> Result<FormParameters, String> {
    FormParameters::take(&parameters(given)).map(|(form, _)| form).map_err(|error| error.to_string())
}

#[test]
fn the_keys_of_the_form_are_separated_from_the_others() {
    let given = json!({
        "train": "a", "resize": 256, "center_crop": [224, 224], "interpolation": "bicubic",
        "channels": 3, "exif_orientation": false, "on_damaged": "skip", "loading": "indexed",
        "fingerprint": "pixels",
    });
    let (form, rest) = FormParameters::take(&parameters(given)).unwrap();
    assert_eq!(rest, parameters(json!({ "train": "a" })));
    let expected = FormParameters {
        resize: Some(Resize::Shorter(256)),
        interpolation: Interpolation::Bicubic,
        center_crop: Some([224, 224]),
        channels: Some(3),
        exif_orientation: false,
        on_damaged: OnDamaged::Skip,
        loading: Where::Indexed,
        fingerprint: Some(FingerprintOf::Pixels),
    };
    assert_eq!(form, expected);
}

#[test]
fn impossible_forms_are_refused_by_their_key() {
    for (given, key) in [
        (json!({ "channels": 2 }), "data.channels: expected 1 or 3"),
        (json!({ "resize": [0, 4] }), "data.resize: expected [height, width] of 1 to 8192"),
        (json!({ "resize": [4, 1 << 20] }), "data.resize"),
        (json!({ "resize": 0 }), "data.resize"),
        (
            json!({ "resize": "4x4" }),
            "data.resize: expected [height, width], or the length of the shorter side",
        ),
        (json!({ "center_crop": [0, 1] }), "data.center_crop"),
        (json!({ "resize": [4, 4], "center_crop": [5, 4] }), "data.center_crop: expected at most the 4 × 4"),
        (json!({ "interpolation": "nearest" }), "data.interpolation"),
        (json!({ "on_damaged": "guess" }), "data.on_damaged"),
    ] {
        let error = taken(given).unwrap_err();
        assert!(error.starts_with(key), "{error}");
    }
    assert!(taken(json!({ "resize": [1, 8192], "channels": 1 })).is_ok());
}

#[test]
fn the_size_is_known_where_the_job_says_it() {
    let size = |given: Value, of: Option<[usize; 2]>| {
        taken(given).unwrap().input_spec(of, Some(3), Some(2)).map(|spec| spec.input_shape)
    };
    assert_eq!(size(json!({}), None), None);
    assert_eq!(size(json!({ "resize": [4, 5] }), None), Some(vec![3, 4, 5]));
    assert_eq!(size(json!({ "resize": 4 }), None), None);
    assert_eq!(size(json!({ "resize": 4 }), Some([8, 16])), Some(vec![3, 4, 8]));
    assert_eq!(size(json!({ "resize": 4, "center_crop": [3, 3] }), None), Some(vec![3, 3, 3]));
}
