//! Degraded modes: what keeps the coordinator from doing all that it is there for. Each is reported when it begins and when
//! it ends, and in between now and then, however often it is met.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the log is reminded of a mode that lasts.
const REMINDER: Duration = Duration::from_secs(600);

/// A degraded mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DegradedMode {
    /// The state cannot be stored: nothing is accepted, and training waits.
    Storage,
    /// The coordinator's certificate has expired, or is not valid yet: nobody can connect any more.
    CertificateInvalid,
    /// The coordinator's certificate expires soon.
    CertificateExpiring,
}

impl DegradedMode {
    pub(crate) const ALL: [Self; 3] = [Self::Storage, Self::CertificateInvalid, Self::CertificateExpiring];

    /// Its name in metrics, logs and on the dashboard.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::CertificateInvalid => "certificate_invalid",
            Self::CertificateExpiring => "certificate_expiring",
        }
    }

    /// What is told when it is over.
    pub(super) fn over(self) -> &'static str {
        match self {
            Self::Storage => "the coordinator's state can be stored again",
            Self::CertificateInvalid => "the coordinator's certificate is valid again",
            Self::CertificateExpiring => "the coordinator's certificate was renewed, or has expired",
        }
    }

    /// Whether the coordinator is not ready meanwhile.
    pub(crate) fn stops_service(self) -> bool {
        match self {
            Self::Storage | Self::CertificateInvalid => true,
            Self::CertificateExpiring => false,
        }
    }
}

/// What is to be reported of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Begun,
    /// It has lasted for this long.
    Lasts(Duration),
    /// It is over after this long.
    Over(Duration),
}

#[derive(Debug)]
struct Entered {
    reason: String,
    since: Instant,
    reported: Instant,
}

/// The modes that the coordinator is in.
#[derive(Debug, Default)]
pub(super) struct DegradedModes(BTreeMap<DegradedMode, Entered>);

impl DegradedModes {
    /// Enters a mode for a reason, or leaves it. The newest reason counts.
    pub(super) fn set(&mut self, mode: DegradedMode, reason: Option<String>, now: Instant) -> Option<Report> {
        let Some(reason) = reason else {
            return self.0.remove(&mode).map(|left| Report::Over(now.saturating_duration_since(left.since)));
        };
        if let Some(entered) = self.0.get_mut(&mode) {
            entered.reason = reason;
            return None;
        }
        self.0.insert(mode, Entered { reason, since: now, reported: now });
        Some(Report::Begun)
    }

    /// The modes of which it is time to remind.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(DegradedMode, String, Report)> {
        let due = |entered: &&mut Entered| now.saturating_duration_since(entered.reported) >= REMINDER;
        let remind = |(mode, entered): (&DegradedMode, &mut Entered)| {
            entered.reported = now;
            let lasts = Report::Lasts(now.saturating_duration_since(entered.since));
            (*mode, entered.reason.clone(), lasts)
        };
        self.0.iter_mut().filter(|(_, entered)| due(entered)).map(remind).collect()
    }

    /// The modes with their reasons.
    pub(super) fn reasons(&self) -> Vec<(DegradedMode, String)> {
        self.0.iter().map(|(mode, entered)| (*mode, entered.reason.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_reported_once_when_it_begins_now_and_then_while_it_lasts_and_once_when_it_ends() {
        let (mut modes, start) = (DegradedModes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let set = |modes: &mut DegradedModes, reason: Option<&str>, now| {
            modes.set(DegradedMode::Storage, reason.map(str::to_owned), now)
        };
        assert_eq!(set(&mut modes, Some("full"), at(0)), Some(Report::Begun));
        for second in 1..600 {
            assert_eq!(set(&mut modes, Some("still full"), at(second)), None);
            assert_eq!(modes.due(at(second)), []);
        }
        let lasts = Report::Lasts(Duration::from_secs(600));
        assert_eq!(modes.due(at(600)), [(DegradedMode::Storage, "still full".to_owned(), lasts)]);
        assert_eq!(modes.due(at(601)), []);
        assert_eq!(set(&mut modes, None, at(700)), Some(Report::Over(Duration::from_secs(700))));
        assert_eq!(set(&mut modes, None, at(701)), None, "it is over already");
        assert_eq!((modes.due(at(9000)), modes.reasons()), (Vec::new(), Vec::new()));
    }
}
