//! Labels of metrics.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// One label.
macro_rules! label {
    ($name:ident, $field:ident: $kind:ty) => {
        #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
        pub(super) struct $name {
            pub(super) $field: $kind,
        }
    };
}

label!(StateLabel, state: &'static str);
label!(WorkerLabel, worker: String);
label!(CauseLabel, cause: &'static str);
label!(ReasonLabel, reason: &'static str);
label!(JobLabel, job_id: String);
label!(DirectionLabel, direction: Direction);
label!(OutcomeLabel, outcome: &'static str);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct PartLabel {
    pub(super) job_id: String,
    pub(super) part: &'static str,
}

/// Which way tensors go, as the coordinator sees it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Direction {
    Received,
    Sent,
}

impl EncodeLabelValue for Direction {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Received => "received",
            Self::Sent => "sent",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// Why a call or connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Unauthenticated,
    Forbidden,
    Rate,
    Connections,
}

impl Refused {
    pub(super) const ALL: [Self; 4] = [Self::Unauthenticated, Self::Forbidden, Self::Rate, Self::Connections];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Rate => "rate",
            Self::Connections => "connections",
        }
    }
}
