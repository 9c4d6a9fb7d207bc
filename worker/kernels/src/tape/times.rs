//! Where the time of a gradient is spent, operation by operation: a table in the log at level `trace`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Applied;

/// Calls and durations of the operations of one name.
#[derive(Clone, Copy, Default)]
struct Took {
    calls: u32,
    forward: Duration,
    backward: Duration,
}

/// Times of a backward pass; nothing is collected unless the log has level `trace`.
pub(super) struct Times {
    begun: Instant,
    /// Duration of the forward pass.
    forward: Duration,
    by_name: Option<BTreeMap<&'static str, Took>>,
}

impl Times {
    /// Starts the clock of a backward pass, after a forward pass of the given duration.
    pub(super) fn begin(forward: Duration) -> Self {
        let read = tracing::enabled!(tracing::Level::TRACE);
        Self { begun: Instant::now(), forward, by_name: read.then(BTreeMap::new) }
    }

    /// Adds an operation's backward pass.
    pub(super) fn took(&mut self, applied: &Applied, backward: Duration) {
        if let Some(by_name) = &mut self.by_name {
            let took = by_name.entry(applied.operation.name()).or_default();
            took.calls += 1;
            took.forward += applied.forward;
            took.backward += backward;
        }
    }

    /// Writes the table to the log.
    pub(super) fn end(self) {
        let Some(by_name) = self.by_name else { return };
        let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        let mut all = Took::default();
        for (operation, Took { calls, forward, backward }) in by_name {
            all.forward += forward;
            all.backward += backward;
            tracing::trace!(operation, calls, forward_ms = ms(forward), backward_ms = ms(backward), "took");
        }
        let (forward, backward) =
            (self.forward.saturating_sub(all.forward), self.begun.elapsed().saturating_sub(all.backward));
        tracing::trace!(forward_ms = ms(forward), backward_ms = ms(backward), "all else took");
    }
}
