//! What the text of a cell means: a number, a missing value, a truth value, a class.

use super::parameters::Dialect;

/// Texts that stand for a missing value in tables of the usual programs, in lower case.
const MISSING: [&str; 13] =
    ["", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "nil", "?", "-", "."];
/// Longest text that stands for a missing value.
const LONGEST: usize = 4;

pub(super) fn is_missing(text: &str) -> bool {
    text.len() <= LONGEST && MISSING.contains(&text.to_ascii_lowercase().as_str())
}

/// The truth value of a text.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The finite number that a text is, written as the dialect says.
pub(super) fn number(text: &str, dialect: &Dialect) -> Option<f32> {
    let plain = if dialect.decimal == '.' && dialect.thousands.is_none() {
        text.parse().ok()
    } else {
        plain(text, dialect)?.parse().ok()
    };
    plain.filter(|number: &f32| number.is_finite())
}

/// The number with a decimal point and without groups; `None` if its groups do not have three digits, because a decimal
/// comma may have been taken for one that groups digits.
fn plain(text: &str, dialect: &Dialect) -> Option<String> {
    let (whole, fraction) = match text.split_once(dialect.decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if dialect.decimal != '.' && fraction.is_none_or(|fraction| fraction.contains('.')) && text.contains('.')
    {
        // A point that is neither a decimal point nor between groups.
        if dialect.thousands != Some('.') || fraction.is_some_and(|fraction| fraction.contains('.')) {
            return None;
        }
    }
    let whole = match dialect.thousands {
        Some(thousands) => ungrouped(whole, thousands)?,
        None => whole.to_owned(),
    };
    Some(match fraction {
        Some(fraction) => format!("{whole}.{fraction}"),
        None => whole,
    })
}

fn ungrouped(whole: &str, thousands: char) -> Option<String> {
    let mut groups = whole.split(thousands);
    let mut digits = groups.next()?.to_owned();
    for group in groups {
        let first = digits.trim_start_matches(['+', '-']);
        if group.len() != 3 || !group.bytes().all(|byte| byte.is_ascii_digit()) || first.is_empty() {
            return None;
        }
        digits.push_str(group);
    }
    Some(digits)
}

/// The whole number that a text is, also if it is written with a fraction of zeros.
pub(super) fn class(text: &str) -> Option<u32> {
    if let Ok(class) = text.parse() {
        return Some(class);
    }
    let number: f64 = text.parse().ok()?;
    let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    whole.then_some(number as u32)
}

/// Whether a text is any number, so that it is no name.
pub(super) fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests;
