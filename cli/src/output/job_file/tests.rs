use lookbehind_common::job::parse_toml;
use serde_json::json;

use super::*;
use crate::fake_test::source;

#[test]
fn a_job_that_is_written_reads_as_the_same_job_whatever_its_strings_contain() {
    let mut file = source().file().clone();
    let strings = [
        "a\u{9b}2Jb",
        "\u{202e}txt.exe",
        "line\nbreak",
        "C:\\\"quoted\"",
        "\'\'\'",
        "Größe",
        "\u{e0041}",
        "",
    ];
    file.data.parameters.insert("columns".to_owned(), json!(strings));
    file.data.parameters.insert("\u{9b}1m key".to_owned(), json!({ "a b": [{ "c": 1.5 }, {}], "d": true }));
    file.optimizer.base.lr = Some(1e-7);
    let text = write(&file).unwrap();
    assert!(text.chars().all(|letter| letter == '\n' || !is_active(letter)), "{text:?}");
    assert_eq!(parse_toml(&text).unwrap(), file);
}

#[test]
fn sections_stand_apart_and_those_without_keys_are_left_out() {
    let text = write(source().file()).unwrap();
    assert!(text.starts_with("name = \"digits\"\n\n["), "{text}");
    assert!(text.contains("\nhidden = [16]\n") && !text.contains("[resources]"), "{text}");
}
