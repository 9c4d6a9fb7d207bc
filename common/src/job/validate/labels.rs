//! Labels: a few short texts by key.

use super::{Checked, JobError, NAME_SIGNS, refuse, text};
use crate::job::spec::Labels;
use crate::text::printable;

/// Most labels of a job.
const MAX_LABELS: usize = 16;
/// Most bytes of the key of a label.
const MAX_KEY: usize = 64;

/// Checks number, keys and values of the labels of a job.
pub(super) fn validate(labels: &Labels) -> Checked<Labels> {
    if labels.len() > MAX_LABELS {
        return refuse("labels", &format!("at most {MAX_LABELS}"), labels.len());
    }
    for (key, value) in labels {
        check_key(key)?;
        text(&format!("labels.{key}"), value, NAME_SIGNS)?;
    }
    Ok(labels.clone())
}

/// A key has no `=` and no spaces, so that `KEY=VALUE` can be told apart on a command line.
fn check_key(key: &str) -> Checked<()> {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if key.is_empty() || key.len() > MAX_KEY || !plain {
        let shown: String = key.chars().take(MAX_KEY).collect();
        return Err(JobError::new(
            "labels",
            &format!(
                "expected keys of 1 to {MAX_KEY} ASCII letters, digits, '-', '_' or '.', found {}",
                printable(&shown)
            ),
        ));
    }
    Ok(())
}
