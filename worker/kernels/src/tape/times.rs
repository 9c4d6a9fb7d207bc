//! Where the time of a gradient goes, operation by operation: a table in the log of level `trace`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Applied;

/// What operations of one name took.
#[derive(Clone, Copy, Default)]
struct Took {
    calls: u32,
    forward: Duration,
    backward: Duration,
}

/// Times of a backward pass; nothing is kept where nobody reads them.
pub(super) struct Times {
    begun: Instant,
    /// What the forward pass took.
    forward: Duration,
    by_name: Option<BTreeMap<&'static str, Took>>,
}

impl Times {
    /// A backward pass begins, after a forward pass that took so long.
    pub(super) fn begin(forward: Duration) -> Self {
        let read = tracing::enabled!(tracing::Level::TRACE);
        Self { begun: Instant::now(), forward, by_name: read.then(BTreeMap::new) }
    }

    /// An operation's backward pass is over.
    pub(super) fn took(&mut self, applied: &Applied, backward: Duration) {
        if let Some(by_name) = &mut self.by_name {
            let took = by_name.entry(applied.operation.name()).or_default();
            took.calls += 1;
            took.forward += applied.forward;
            took.backward += backward;
        }
    }

    /// Writes the table.
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
