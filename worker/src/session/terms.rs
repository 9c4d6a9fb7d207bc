//! The terms on which a coordinator registers a worker. They are checked, because everything that waits derives from them.

use std::ops::RangeInclusive;
use std::time::Duration;

use lookbehind_proto::{FAILURE_DETECTION, v1};

/// Terms of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long either side may be silent before the other considers it lost.
    pub(super) detection: Duration,
    /// Time between two heartbeats of the worker.
    pub(super) interval: Duration,
}

/// A value that no coordinator of this version sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the coordinator's terms: {field}: expected {} to {} ms, found {found}", expected.start(), expected.end()
)]
pub(super) struct TermsError {
    field: &'static str,
    expected: RangeInclusive<u64>,
    found: u64,
}

impl TryFrom<v1::Registered> for Terms {
    type Error = TermsError;

    fn try_from(terms: v1::Registered) -> Result<Self, TermsError> {
        let v1::Registered { failure_detection_ms, heartbeat_interval_ms } = terms;
        let millis = |time: &Duration| time.as_millis() as u64;
        let possible = millis(FAILURE_DETECTION.start())..=millis(FAILURE_DETECTION.end());
        let detection = checked("failure_detection_ms", failure_detection_ms, possible)?;
        // With fewer heartbeats than this, a single late one would end the session.
        let interval = checked("heartbeat_interval_ms", heartbeat_interval_ms, 1..=failure_detection_ms / 2)?;
        Ok(Self { detection, interval })
    }
}

fn checked(field: &'static str, found: u64, expected: RangeInclusive<u64>) -> Result<Duration, TermsError> {
    if expected.contains(&found) {
        return Ok(Duration::from_millis(found));
    }
    Err(TermsError { field, expected, found })
}

#[cfg(test)]
mod tests;
