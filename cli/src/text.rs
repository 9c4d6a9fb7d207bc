//! Formatting of messages and numbers for people.

use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;

pub use lookbehind_common::text::printable;

/// Whether a state is final.
pub fn is_over(state: v1::JobState) -> bool {
    matches!(state, v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled)
}

/// The message, or nothing if it only repeats the state.
pub fn reason(state: v1::JobState, message: &str) -> &str {
    if message == state_name(state) { "" } else { message }
}

/// Lines for a terminal: whatever they quote, it can neither control the terminal nor appear in another order.
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// Formats a loss. A loss that grows without bound keeps a readable length.
pub fn loss(loss: f64) -> String {
    if loss.abs() < 1e6 || !loss.is_finite() { format!("{loss:.4}") } else { format!("{loss:.4e}") }
}

/// Formats a share between 0 and 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests;
