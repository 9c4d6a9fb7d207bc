//! How many calls of users are answered at the same time. While a call is, its request and its answer are in memory in
//! forms that take many times their size on the wire: further calls wait, with nothing but their request as it came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lookbehind_identity::{Identity, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::super::callers::Who;
use super::super::limits::exhausted;

/// Calls of all users that are answered at the same time; administrators have as many again for themselves.
const ALL: usize = 6;
/// Those of one user.
const ONE: usize = 2;
/// Users whose calls are remembered although none is under way.
const REMEMBERED: usize = 64;

/// The calls of users that are being answered.
#[derive(Debug)]
pub(super) struct Turns {
    users: Arc<Semaphore>,
    admins: Arc<Semaphore>,
    by_user: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The turn of a call, which ends when this is dropped.
pub(super) struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        let semaphore = || Arc::new(Semaphore::new(ALL));
        Self { users: semaphore(), admins: semaphore(), by_user: Mutex::default() }
    }
}

impl Turns {
    /// Waits for the turn of a caller, first among the caller's own calls, then among those of all.
    ///
    /// # Errors
    /// If that takes longer than `patience`.
    pub(super) async fn wait(&self, who: &Who, patience: Duration) -> Result<Turn, Status> {
        let (own, all) = match who {
            Who::Known(Identity { role: Role::Admin, .. }) => (None, &self.admins),
            Who::Known(Identity { name, .. }) => (Some(self.of(name)), &self.users),
            Who::Anyone | Who::Unknown(_) => (None, &self.users),
        };
        let turn = async {
            // They are never closed.
            let own = match own {
                Some(own) => Some(own.acquire_owned().await.ok()?),
                None => None,
            };
            Some(Turn { _own: own, _all: Arc::clone(all).acquire_owned().await.ok()? })
        };
        let turn = tokio::time::timeout(patience, turn).await.ok().flatten();
        turn.ok_or_else(|| exhausted("calls that are answered at the same time", ALL))
    }

    /// The calls of one user.
    fn of(&self, name: &str) -> Arc<Semaphore> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if by_user.len() > REMEMBERED {
            by_user.retain(|_, calls| Arc::strong_count(calls) > 1);
        }
        Arc::clone(by_user.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(ONE))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Who {
        Who::Known(Identity { role: Role::User, name: name.into() })
    }

    /// No time at all: only what is free at once is given.
    async fn at_once(turns: &Turns, who: &Who) -> Option<Turn> {
        turns.wait(who, Duration::ZERO).await.ok()
    }

    #[tokio::test]
    async fn one_user_leaves_turns_to_others_and_users_leave_some_to_administrators() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for name in ["alice", "bob", "carol"] {
            for _ in 0..ONE {
                held.push(at_once(&turns, &user(name)).await.expect("a free turn"));
            }
            assert!(at_once(&turns, &user(name)).await.is_none(), "{name} has its share");
        }
        assert!(at_once(&turns, &user("dave")).await.is_none(), "all turns of users are taken");
        let admin = Who::Known(Identity { role: Role::Admin, name: "root".into() });
        assert!(at_once(&turns, &admin).await.is_some());
        held.pop();
        assert!(at_once(&turns, &user("dave")).await.is_some(), "one has become free");
    }

    #[tokio::test]
    async fn users_without_calls_are_forgotten() {
        let turns = Turns::default();
        for number in 0..10 * REMEMBERED {
            drop(at_once(&turns, &user(&format!("u{number}"))).await.expect("a free turn"));
        }
        assert!(turns.by_user.lock().unwrap().len() <= REMEMBERED + 1);
    }
}
