//! Labels of the metrics.

use lookbehind_telemetry::metrics::Label;
use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct WorkerLabel {
    pub(super) worker: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct JobLabel {
    pub(super) job_id: String,
}

/// A job and a part of its time.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct PartLabel {
    pub(super) job_id: String,
    pub(super) part: &'static str,
}

/// Reason for refusing a call or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Unauthenticated,
    Forbidden,
    Rate,
    Connections,
    /// Requests that would have taken more memory than there is for them.
    Memory,
    /// Requests and transfers that did not arrive in time.
    Slow,
}

impl Refused {
    pub(super) const ALL: [Self; 6] =
        [Self::Unauthenticated, Self::Forbidden, Self::Rate, Self::Connections, Self::Memory, Self::Slow];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Rate => "rate",
            Self::Connections => "connections",
            Self::Memory => "memory",
            Self::Slow => "slow",
        }
    }

    pub(super) fn label(self) -> Label {
        [("reason", self.name())]
    }
}
