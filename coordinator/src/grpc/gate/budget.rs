//! The memory for requests that are being received and for answers, and the shares of it. Users, however many work
//! together, cannot take that of workers or of administrators, nor workers that of users.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lookbehind_identity::{Identity, Role};
use tonic::Status;

use super::super::callers::Who;

/// Bytes that the messages of all calls together may take: requests while they arrive and wait for their answers, and
/// answers of one message until they have left.
const TOTAL: usize = WORKERS + USERS + ADMINS + UNKNOWN;
/// Share of all workers.
const WORKERS: usize = 56 << 20;
/// Share of the workers with one identity.
const WORKER: usize = 40 << 20;
/// Share of all users.
const USERS: usize = 48 << 20;
/// Share of one user.
const USER: usize = 16 << 20;
/// Share of all administrators.
const ADMINS: usize = 16 << 20;
/// Share of all callers who are not signed in, where callers have to be.
const UNKNOWN: usize = 8 << 20;
/// Share of one connection.
const CONNECTION: usize = 16 << 20;

/// A number of bytes in use, and its limit.
#[derive(Debug)]
pub(in super::super) struct Account {
    used: AtomicUsize,
    limit: usize,
    name: &'static str,
}

impl Account {
    fn new(limit: usize, name: &'static str) -> Self {
        Self { used: AtomicUsize::new(0), limit, name }
    }

    /// The account of a connection.
    pub(in super::super) fn of_connection() -> Self {
        Self::new(CONNECTION, "one connection")
    }

    fn take(&self, bytes: usize) -> Result<(), Status> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(()),
            Err(_) => Err(Status::resource_exhausted(format!(
                "memory for requests and answers: the limit of {} bytes for {} is reached; try again later",
                self.limit, self.name
            ))),
        }
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory of all calls.
#[derive(Debug)]
pub(super) struct Budget {
    workers: Arc<Account>,
    users: Arc<Account>,
    admins: Arc<Account>,
    unknown: Arc<Account>,
    /// Of everyone where there are no credentials; unused where there are.
    anyone: Arc<Account>,
    /// Accounts of callers with at least one call under way.
    callers: Mutex<HashMap<Key, Arc<Account>>>,
}

/// Callers who share an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Anyone,
    Unknown,
    Known(Identity),
}

impl Default for Budget {
    fn default() -> Self {
        let account = |limit, name| Arc::new(Account::new(limit, name));
        Self {
            workers: account(WORKERS, "all workers"),
            users: account(USERS, "all users"),
            admins: account(ADMINS, "all administrators"),
            unknown: account(UNKNOWN, "callers who are not signed in"),
            anyone: account(TOTAL, "all callers"),
            callers: Mutex::default(),
        }
    }
}

impl Budget {
    /// The account of all callers of the same kind.
    fn of_all(&self, key: &Key) -> Arc<Account> {
        let account = match key {
            Key::Anyone => &self.anyone,
            Key::Unknown => &self.unknown,
            Key::Known(Identity { role: Role::Worker, .. }) => &self.workers,
            Key::Known(Identity { role: Role::User, .. }) => &self.users,
            Key::Known(Identity { role: Role::Admin, .. }) => &self.admins,
        };
        Arc::clone(account)
    }

    /// The account of one caller.
    fn account(&self, key: &Key) -> Arc<Account> {
        let (limit, name) = match key {
            Key::Anyone => (TOTAL, "all callers"),
            Key::Unknown => (UNKNOWN, "callers who are not signed in"),
            Key::Known(Identity { role: Role::Worker, .. }) => (WORKER, "workers with one identity"),
            Key::Known(Identity { role: Role::User, .. }) => (USER, "one user"),
            Key::Known(Identity { role: Role::Admin, .. }) => (ADMINS, "one administrator"),
        };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let account = callers.entry(key.clone()).or_insert_with(|| Arc::new(Account::new(limit, name)));
        Arc::clone(account)
    }

    /// Forgets an account that no other call uses.
    fn close(&self, key: &Key) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        // One reference is the table's, one the ledger's that is being dropped.
        if callers.get(key).is_some_and(|account| Arc::strong_count(account) <= 2) {
            callers.remove(key);
        }
    }
}

/// What one call has taken from the budget. It is given back on drop.
#[derive(Debug)]
pub(in super::super) struct Ledger {
    taken: AtomicUsize,
    /// Of the connection, the caller and all callers of the same kind.
    accounts: [Arc<Account>; 3],
    budget: Arc<Budget>,
    key: Key,
}

impl Ledger {
    pub(super) fn open(budget: &Arc<Budget>, connection: &Arc<Account>, who: &Who) -> Self {
        let key = match who {
            Who::Anyone => Key::Anyone,
            Who::Unknown(_) => Key::Unknown,
            Who::Known(identity) => Key::Known(identity.clone()),
        };
        let accounts = [Arc::clone(connection), budget.account(&key), budget.of_all(&key)];
        Self { taken: AtomicUsize::new(0), accounts, budget: Arc::clone(budget), key }
    }

    /// Takes some bytes, from all accounts or from none.
    pub(in super::super) fn take(&self, bytes: usize) -> Result<(), Status> {
        for (index, account) in self.accounts.iter().enumerate() {
            if let Err(status) = account.take(bytes) {
                self.accounts.iter().take(index).for_each(|account| account.give_back(bytes));
                return Err(status);
            }
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives some of the taken bytes back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.accounts.iter().for_each(|account| account.give_back(bytes));
    }
}

#[cfg(test)]
impl Ledger {
    /// Bytes that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.accounts.iter().for_each(|account| account.give_back(taken));
        self.budget.close(&self.key);
    }
}

#[cfg(test)]
mod tests;
