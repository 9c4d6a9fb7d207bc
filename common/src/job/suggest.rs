//! What somebody may have meant who misspelt a word of the job file.

/// Of the known words, the one that was probably meant.
fn meant<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong, and one in short words.
    let most = (found.chars().count() / 3).max(1);
    let distance = |word: &&str| strsim::damerau_levenshtein(found, word);
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= most).then_some(nearest)
}

/// The end of a message that refuses a word: which one was probably meant; empty if none is near.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    meant(found, known).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default()
}

/// A message of serde, with what was probably meant if it refuses a key or a word. serde passes the found word and the
/// known ones on in its text alone. Nothing but this help to the reader depends on its form.
pub(super) fn with_suggestion(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let refuses = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match words.next().filter(|_| refuses) {
        Some(found) => format!("{message}{}", did_you_mean(found, words)),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
