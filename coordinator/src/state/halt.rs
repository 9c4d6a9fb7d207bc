//! Why the handling of an event of a job stops early. The three reasons have different consequences, and
//! [`Core::of_job`](super::Core) is the one place that draws them.

/// Why the handling of an event stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The event belongs to something that ended meanwhile: it changes nothing.
    Stale(&'static str),
    /// The job cannot go on, for this reason: it fails.
    Failed(String),
    /// What must hold does not: the core has a bug. The job fails and names the invariant, because what it would
    /// compute from here on cannot be trusted.
    Broken(&'static str),
}

/// What the handling of an event comes to.
pub(super) type Handled = Result<(), Halt>;
