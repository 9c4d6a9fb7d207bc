//! Formatting of messages and numbers for people.

use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;

/// Whether a state is final.
pub fn is_over(state: v1::JobState) -> bool {
    matches!(state, v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled)
}

/// The message, or nothing if it only repeats the state.
pub fn reason(state: v1::JobState, message: &str) -> &str {
    if message == state_name(state) { "" } else { message }
}

/// Text from other machines in a form that is safe to print: control characters are escaped, so that it can neither
/// break a line nor control the terminal.
pub fn printable(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// Formats a share between 0 and 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests;
