use super::*;
use crate::job::{JobFile, Parameters, parse_parameters, parse_toml};

const METHODS: [&str; 7] = ["sgd", "sam", "lookahead", "lookahead_sam", "multistep_sam", "lookbehind", "rwp"];

#[test]
fn the_nearest_word_is_meant_and_a_distant_one_is_not() {
    for (found, expected) in [
        ("lookbehnid", Some("lookbehind")),
        ("look_ahead", Some("lookahead")),
        ("sga", Some("sgd")),
        ("adam", None),
        ("", None),
    ] {
        assert_eq!(meant(found, METHODS), expected, "{found}");
    }
}

#[test]
fn a_misspelt_key_or_word_of_the_job_file_is_answered_with_the_right_one() {
    let refused = |text: &str| parse_toml(text).map(|_: JobFile| ()).unwrap_err().to_string();
    let key = refused("nmae = \"small\"");
    assert!(key.contains("`nmae`") && key.ends_with("; did you mean \"name\"?"), "{key}");
    let word = refused("name = \"small\"\n[optimizer]\nmethod = \"lookbehnid\"");
    assert!(
        word.starts_with("optimizer.method: ") && word.ends_with("; did you mean \"lookbehind\"?"),
        "{word}"
    );
    let other = refused("name = 7");
    assert!(!other.contains("did you mean"), "{other}");
}

#[test]
fn a_misspelt_parameter_is_answered_with_the_right_one() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[allow(dead_code, reason = "only its name matters")]
        hidden: Vec<usize>,
    }
    let mut parameters = Parameters::new();
    parameters.insert("hiden".to_owned(), serde_json::json!([4]));
    let error = parse_parameters::<Wanted>("model", &parameters).unwrap_err().to_string();
    assert!(error.ends_with("; did you mean \"hidden\"?"), "{error}");
}
