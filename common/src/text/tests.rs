use super::*;

/// What a text may contain to deceive: by kind, with its escaped form.
const ACTIVE: [(&str, &str); 12] = [
    ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
    ("a\nb", "a\\nb"),
    ("a\u{7f}b", "a\\u{7f}b"),
    ("a\u{9b}2Jb", "a\\u{9b}2Jb"),
    ("a\u{85}b", "a\\u{85}b"),
    ("a\u{202e}b", "a\\u{202e}b"),
    ("a\u{2066}b", "a\\u{2066}b"),
    ("a\u{200f}b", "a\\u{200f}b"),
    ("a\u{200b}b", "a\\u{200b}b"),
    ("a\u{2028}b", "a\\u{2028}b"),
    ("a\u{feff}b", "a\\u{feff}b"),
    ("a\u{e0041}b", "a\\u{e0041}b"),
];

#[test]
fn characters_that_act_instead_of_being_shown_are_escaped() {
    for (text, expected) in ACTIVE {
        assert!(!is_harmless(text));
        assert_eq!(printable(text), expected);
        assert_eq!(printable(expected), expected, "what is escaped stays as it is");
    }
}

#[test]
fn text_of_all_scripts_stays_as_it_is() {
    for text in ["worker-1.example (8 × 3,2 GHz)", "Größe", "深度学习", "שלום", "مرحبا", "e\u{301}", "🙂"]
    {
        assert!(is_harmless(text));
        assert_eq!(printable(text), text);
    }
}

#[test]
fn escaped_json_means_the_same() {
    for (text, _) in ACTIVE {
        let json = serde_json::to_string_pretty(&[text, "\u{1d173}"]).unwrap();
        let shown = printable_json(&json);
        assert!(shown.chars().all(|letter| letter == '\n' || !is_active(letter)), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text, "\u{1d173}"]);
    }
    assert_eq!(printable_json("{\"a\": 1}"), "{\"a\": 1}");
}

#[test]
fn a_long_text_is_cut_between_characters_and_says_how_long_it_was() {
    assert_eq!(brief("Größe", 5), "Größe");
    assert_eq!(brief("Größe", 3), "Grö… (7 bytes)");
    assert_eq!(brief("a\nb", 3), "a\\nb");
    assert_eq!(brief("", 0), "");
}

#[test]
fn one_thing_is_not_called_many() {
    assert_eq!([0, 1, 2].map(|number| counted(number, "worker")), ["0 workers", "1 worker", "2 workers"]);
}
