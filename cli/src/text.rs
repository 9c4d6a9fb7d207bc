//! Words and numbers as people read them.

use lookbehind_proto::v1;

/// A state in lower case, without the protocol's prefix.
pub fn state_word(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unspecified",
        v1::JobState::Queued => "queued",
        v1::JobState::Preparing => "preparing",
        v1::JobState::Running => "running",
        v1::JobState::Paused => "paused",
        v1::JobState::Succeeded => "succeeded",
        v1::JobState::Failed => "failed",
        v1::JobState::Cancelled => "cancelled",
    }
}

/// Whether nothing will happen to a job in this state any more.
pub fn is_over(state: v1::JobState) -> bool {
    matches!(state, v1::JobState::Succeeded | v1::JobState::Failed | v1::JobState::Cancelled)
}

/// A message, unless it only repeats the state.
pub fn reason(state: v1::JobState, message: &str) -> &str {
    if message == state_word(state) { "" } else { message }
}

/// Text from elsewhere as it may be shown: control characters are escaped, so that it can neither break a line
/// nor drive the terminal.
pub fn printable(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

/// A share as people read it.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
