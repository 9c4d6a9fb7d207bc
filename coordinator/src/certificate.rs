//! Follows the validity of the coordinator's own certificate: without it, nobody can connect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lookbehind_identity::{GuardedServer, Standing, Validity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::observe::{DegradedMode, Observer, unix_millis};

/// How often the clock is compared with the certificate.
const LOOK: Duration = Duration::from_secs(30);

/// The certificate of a coordinator.
pub(crate) struct Certificate {
    /// The file that holds it.
    pub(crate) path: PathBuf,
    pub(crate) guard: watch::Receiver<GuardedServer>,
    pub(crate) observer: Arc<Observer>,
}

/// How long until the next look: not longer than until the certificate expires.
fn next_look(validity: Validity, now: SystemTime) -> Duration {
    // A second later: the last one counts as valid.
    let left = validity.until.duration_since(now).map(|left| left + Duration::from_secs(1));
    left.map_or(LOOK, |left| left.min(LOOK))
}

impl Certificate {
    /// Reports when the certificate expires soon, has expired, and was renewed, until `end` is cancelled.
    pub(crate) async fn follow(mut self, end: CancellationToken) {
        loop {
            let validity = self.guard.borrow_and_update().validity;
            self.report(validity, SystemTime::now());
            tokio::select! {
                () = end.cancelled() => return,
                changed = self.guard.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(next_look(validity, SystemTime::now())) => {}
            }
        }
    }

    fn report(&self, validity: Validity, now: SystemTime) {
        let (from, until) = (http::time(unix_millis(validity.from)), http::time(unix_millis(validity.until)));
        let path = self.path.display();
        let (invalid, expiring) = match validity.standing(now) {
            Standing::Valid => (None, None),
            Standing::Early => {
                (Some(format!("the coordinator's certificate {path} is valid only from {from}")), None)
            }
            Standing::Expired => {
                (Some(format!("the coordinator's certificate {path} expired at {until}")), None)
            }
            Standing::Expiring => {
                (None, Some(format!("the coordinator's certificate {path} expires at {until}")))
            }
        };
        self.observer.metrics.degraded.certificate_expires(validity.until);
        self.observer.set_degraded(DegradedMode::CertificateInvalid, invalid);
        self.observer.set_degraded(DegradedMode::CertificateExpiring, expiring);
    }
}
