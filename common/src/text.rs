//! Text of others, made harmless to show: on a terminal, in a log, on a page.

use std::borrow::Cow;

/// Whether a character acts on what shows it, or on the text around it, instead of being shown: the control characters
/// of ASCII and Latin-1 (C0, C1 and DEL), line and paragraph separators, the marks and overrides of the bidirectional
/// algorithm, and everything else that takes no width, such as joiners, soft hyphens, annotations and tags. With them a
/// text could control a terminal, appear in another order than it has, or look like another text.
pub fn is_active(letter: char) -> bool {
    let format = matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    letter.is_control() || format
}

/// Whether a text has no active characters, so that it is shown as it is.
pub fn is_harmless(text: &str) -> bool {
    !text.chars().any(is_active)
}

/// The text with its active characters escaped as in Rust's literals, so that it stays on one line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_harmless(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_active(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// The text as [`printable`] shows it, cut after `most` characters; what is cut says how long the whole is.
pub fn brief(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}… ({} bytes)", printable(&text[..end]), text.len())),
        None => printable(text),
    }
}

/// A number of things, such as `1 worker` or `2 workers`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// JSON with the active characters of its strings escaped, which means the same to every reader. Line breaks can only
/// stand between values, so they stay.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    use std::fmt::Write;
    if json.chars().all(|letter| letter == '\n' || !is_active(letter)) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for letter in json.chars() {
        if letter == '\n' || !is_active(letter) {
            shown.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests;
