//! Places for pages, requests and histories: those who are not signed in cannot take those of others, nor one of them
//! all that there are for them.

use std::sync::Arc;

use lookbehind_telemetry::source::{Shares, Source};
use tokio::sync::Notify;

/// Who has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A viewer who is not signed in, at this address.
    Guest(Source),
    /// A user.
    User(String),
    /// An administrator, or anyone where there are no credentials.
    Admin,
}

/// A number of places: one half for guests, the other one for users, and as many again for administrators. One address of
/// guests, or one user, gets at most a quarter.
pub(super) struct Places {
    guests: Arc<Shares<Source>>,
    users: Arc<Shares<String>>,
    admins: Arc<Shares<()>>,
    freed: Arc<Notify>,
}

/// A place, which becomes free when it is dropped.
pub(super) struct Place {
    share: Option<Box<dyn Send + Sync>>,
    freed: Arc<Notify>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let (half, quarter) = (limit.div_ceil(2), limit.div_ceil(4));
        Arc::new(Self {
            guests: Shares::new(half, quarter),
            users: Shares::new(half, quarter),
            admins: Shares::new(limit, limit),
            freed: Arc::default(),
        })
    }

    /// Takes a place; `None` if the holder cannot have one now.
    pub(super) fn take(&self, holder: &Holder) -> Option<Place> {
        let share: Box<dyn Send + Sync> = match holder {
            Holder::Guest(source) => Box::new(self.guests.take(source)?),
            Holder::User(name) => Box::new(self.users.take(name)?),
            Holder::Admin => Box::new(self.admins.take(&())?),
        };
        Some(Place { share: Some(share), freed: Arc::clone(&self.freed) })
    }

    /// Waits for a place.
    pub(super) async fn wait(&self, holder: &Holder) -> Place {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before the attempt, so that a place that becomes free in the meantime is noticed.
            freed.as_mut().enable();
            match self.take(holder) {
                Some(place) => return place,
                None => freed.await,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share = None;
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn guest(number: u8) -> Holder {
        Holder::Guest(Source::from(IpAddr::from([10, 0, 0, number])))
    }

    fn user(name: &str) -> Holder {
        Holder::User(name.into())
    }

    fn all(places: &Places, holder: &Holder) -> Vec<Place> {
        std::iter::from_fn(|| places.take(holder)).collect()
    }

    #[test]
    fn strangers_leave_places_for_users_and_users_for_administrators() {
        let places = Places::new(8);
        let guests: Vec<_> = (0..9).map(|number| all(&places, &guest(number)).len()).collect();
        assert_eq!(guests, [2; 9], "given back each time");
        let held: Vec<_> = (0..9).map(|number| all(&places, &guest(number))).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 0, 0, 0, 0, 0, 0, 0]);
        let (alice, bob) = (all(&places, &user("alice")), all(&places, &user("bob")));
        assert_eq!((alice.len(), bob.len(), all(&places, &user("carol")).len()), (2, 2, 0));
        assert_eq!(all(&places, &Holder::Admin).len(), 8);
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_becomes_free() {
        let places = Places::new(4);
        let held = places.wait(&guest(1)).await;
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { drop(places.wait(&guest(1)).await) }
        });
        places.wait(&guest(2)).await;
        drop(held);
        waiting.await.unwrap();
    }
}
