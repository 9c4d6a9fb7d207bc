//! What stands in the place of data when a download or a checkout went wrong, recognised by its first bytes.

/// Bytes that suffice to recognise it.
pub(crate) const START: usize = 64;

/// What the bytes of a file are, if they are what is found in the place of any kind of data, also of text.
pub(crate) fn in_place_of_data(start: &[u8]) -> Option<&'static str> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|found| found.eq_ignore_ascii_case(with));
    if begins(b"version https://git-lfs") {
        Some("a pointer of git-lfs in the place of the file: git lfs pull fetches it")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("a web page in the place of the file, as servers send it with an error or before a download")
    } else if begins(b"<?xml") || begins(b"<error") {
        Some("XML in the place of the file, as servers send it with an error")
    } else {
        None
    }
}

/// As [`in_place_of_data`], where data are not text.
pub(crate) fn in_place_of_bytes(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    match in_place_of_data(start) {
        Some(found) => Some(found),
        None if start.is_empty() => Some("the file is empty"),
        None if matches!(text, [b'{', b'"' | b'\n' | b' ' | b'}', ..]) => {
            Some("JSON in the place of the file, as servers send it with an error")
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_and_checkouts_leave_in_the_place_of_data_is_recognised() {
        for (start, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid"[..], "git-lfs"),
            (b"\n\n  <!DOCTYPE HTML>\n<head>", "web page"),
            (b"\xef\xbb\xbf<html lang=", "web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey", "XML"),
            (b"{\"message\": \"Not Found\"}", "JSON"),
            (b"", "empty"),
        ] {
            let found = in_place_of_bytes(start).unwrap();
            assert!(found.contains(expected), "{found}");
        }
        for data in [&b"version,label\n1,2\n"[..], b"{1}\n", b"\x89PNG", b"<a>,label"] {
            assert_eq!((in_place_of_data(data), in_place_of_bytes(data)), (None, None), "{data:?}");
        }
        assert_eq!(in_place_of_data(b"{\"a\": 1}"), None, "text may begin so");
    }
}
