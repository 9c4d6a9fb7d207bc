use super::*;

#[test]
fn addresses_that_make_no_sense_are_refused_in_words() {
    for (address, words) in [
        ("coordinator:7070", "neither http:// nor https://"),
        ("ftp://coordinator:7070", "neither http:// nor https://"),
        ("https://coordinator:7070/path", "behind the port"),
        ("https://coordinator:7070?token=abc", "behind the port"),
        ("https://", "expected an address"),
    ] {
        let error = Access::new(address, None).unwrap_err().to_string();
        assert!(error.contains(words), "{address}: {error}");
    }
}

#[test]
fn a_secret_in_an_address_is_refused_and_not_repeated() {
    let error = Access::new("https://hunter2@coordinator:7070", None).unwrap_err().to_string();
    assert!(error.contains("--credentials") && !error.contains("hunter2"), "{error}");
}

#[test]
fn credentials_do_not_go_with_plain_text() {
    let error =
        Access::new("http://127.0.0.1:7070", Some(Folder::new("/credentials"))).unwrap_err().to_string();
    assert!(error.contains("not sent in plain text"), "{error}");
}

#[test]
fn an_unreadable_token_is_named_and_not_shown() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("token"), "hunter2").unwrap();
    let access = Access::new("https://coordinator:7070", Some(Folder::new(root.path()))).unwrap();
    let error = access.authorize().unwrap_err().to_string();
    assert!(error.contains("token") && !error.contains("hunter2"), "{error}");
}
