//! Why the handling of an event of a job stops early. The three reasons have different consequences;
//! [`Core::of_job`](super::Core) is the only place that acts on them.

/// Why the handling of an event stops early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The event belongs to something that has ended: it is ignored.
    Stale(&'static str),
    /// The job cannot continue and fails with this reason.
    Failed(String),
    /// This invariant does not hold: the core has a bug. The job fails, because nothing that it would compute from
    /// here on can be trusted; other jobs continue.
    Broken(&'static str),
}

/// Result of handling an event.
pub(super) type Handled = Result<(), Halt>;
