//! Metrics of what keeps the coordinator from doing all that it is there for.

use std::time::SystemTime;

use lookbehind_telemetry::metrics::ByLabel;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::observe::degraded::DegradedMode;

type NoLabels = [(&'static str, &'static str); 0];

/// Series of the degraded modes and of the certificate.
#[derive(Debug, Default)]
pub(crate) struct DegradedSeries {
    modes: ByLabel<Gauge>,
    /// Without credentials it has no series.
    certificate_expiry: Family<NoLabels, Gauge>,
}

impl DegradedSeries {
    /// Registers the series. Those of the modes start at 0.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("degraded", "Whether the coordinator is in this degraded mode", self.modes.clone());
        let help = "When the coordinator's certificate expires, since 1970";
        let seconds = Unit::Seconds;
        registry.register_with_unit("certificate_expiry", help, seconds, self.certificate_expiry.clone());
        for mode in DegradedMode::ALL {
            self.set(mode, false);
        }
    }

    /// Shows whether the coordinator is in a mode.
    pub(crate) fn set(&self, mode: DegradedMode, is_in: bool) {
        self.modes.get_or_create_owned(&[("mode", mode.name())]).set(i64::from(is_in));
    }

    /// Shows when the coordinator's certificate expires.
    pub(crate) fn certificate_expires(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.certificate_expiry.get_or_create(&[]).set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }
}
