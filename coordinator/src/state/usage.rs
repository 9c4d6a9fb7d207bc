//! What is used of a limit, in all and by each owner.

use std::collections::HashMap;

use super::access::Caller;

/// The part of a limit that one user may have: one over this.
pub(super) const SHARES: u64 = 4;

/// What is used of a limit.
#[derive(Debug, Default)]
pub(super) struct Usage {
    total: u64,
    /// By the owner's name; only of those who have something.
    owners: HashMap<String, u64>,
}

/// A limit that leaves no room: what is used of it, and the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// Whether it is the share of one user, not the whole.
    pub(super) of_one_user: bool,
    pub(super) used: u64,
    pub(super) limit: u64,
}

impl Usage {
    pub(super) fn add(&mut self, owner: &str, amount: u64) {
        self.total += amount;
        match self.owners.get_mut(owner) {
            Some(used) => *used += amount,
            None => {
                self.owners.insert(owner.to_owned(), amount);
            }
        }
    }

    pub(super) fn remove(&mut self, owner: &str, amount: u64) {
        self.total = self.total.saturating_sub(amount);
        if let Some(used) = self.owners.get_mut(owner) {
            *used = used.saturating_sub(amount);
            if *used == 0 {
                self.owners.remove(owner);
            }
        }
    }

    /// What is used in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What one owner uses.
    pub(super) fn used_by(&self, owner: &str) -> u64 {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    /// Checks that a caller may have `amount` more. A user gets a share of the limit; administrators, and everyone
    /// where there are no credentials, get what is left of the whole.
    pub(super) fn check(&self, caller: &Caller, amount: u64, limit: u64) -> Result<(), Lack> {
        if let Caller::User(name) = caller {
            let used = self.used_by(name);
            let share = (limit / SHARES).max(1);
            if used.saturating_add(amount) > share {
                return Err(Lack { of_one_user: true, used, limit: share });
            }
        }
        if self.total.saturating_add(amount) > limit {
            return Err(Lack { of_one_user: false, used: self.total, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Caller {
        Caller::User(name.into())
    }

    #[test]
    fn one_user_gets_a_quarter_and_all_together_the_whole() {
        let mut usage = Usage::default();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(usage.check(&user(name), 25, 100), Ok(()));
            assert!(usage.check(&user(name), 26, 100).is_err());
            usage.add(name, 25);
        }
        let whole = Lack { of_one_user: false, used: 100, limit: 100 };
        assert_eq!(usage.check(&user("e"), 1, 100), Err(whole));
        assert_eq!(usage.check(&Caller::Admin("root".into()), 1, 100), Err(whole));
        usage.remove("a", 25);
        assert_eq!(usage.check(&Caller::Admin("root".into()), 25, 100), Ok(()));
        let share = Lack { of_one_user: true, used: 25, limit: 25 };
        assert_eq!(usage.check(&user("b"), 1, 100), Err(share), "others' room is not b's");
    }

    #[test]
    fn an_owner_without_anything_leaves_no_entry() {
        let mut usage = Usage::default();
        usage.add("a", 3);
        usage.remove("a", 3);
        assert!(usage.owners.is_empty());
    }
}
