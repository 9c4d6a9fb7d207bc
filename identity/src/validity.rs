//! When a certificate is valid.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The last part of its lifetime in which a certificate counts as expiring: this fraction of it, …
const LAST_PART: u32 = 10;
/// … but not more than this.
const LONGEST: Duration = Duration::from_secs(14 * 24 * 3600);

/// The time from which and until which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub from: SystemTime,
    /// Its last second.
    pub until: SystemTime,
}

/// What the validity of a certificate means now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its validity has not begun.
    Early,
    /// It is valid.
    Valid,
    /// It is valid, and should be renewed: a tenth of its lifetime is left, or two weeks.
    Expiring,
    /// It has expired.
    Expired,
}

impl Validity {
    /// The validity of a certificate, or why it cannot be read.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let time =
            |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let validity = parsed.validity();
        Ok(Self { from: time(validity.not_before.timestamp()), until: time(validity.not_after.timestamp()) })
    }

    /// What it means at a time.
    pub fn standing(&self, now: SystemTime) -> Standing {
        let Ok(left) = self.until.duration_since(now) else { return Standing::Expired };
        if now < self.from {
            return Standing::Early;
        }
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        if left < LONGEST.min(lifetime / LAST_PART) { Standing::Expiring } else { Standing::Valid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn lasting(days: u32) -> Validity {
        let from = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        Validity { from, until: from + days * DAY }
    }

    #[test]
    fn a_certificate_expires_soon_in_its_last_tenth_and_at_most_two_weeks_before_its_end() {
        let year = lasting(365);
        let standing = |day: u32| year.standing(year.from + day * DAY);
        assert_eq!(year.standing(year.from - DAY), Standing::Early);
        assert_eq!([0, 351].map(standing), [Standing::Valid; 2]);
        assert_eq!([352, 365].map(standing), [Standing::Expiring; 2]);
        assert_eq!(standing(366), Standing::Expired);
        let month = lasting(30);
        assert_eq!(month.standing(month.until - 3 * DAY), Standing::Valid);
        assert_eq!(month.standing(month.until - 2 * DAY), Standing::Expiring);
    }
}
