//! Where connections come from, as far as limits depend on it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The source of a connection: an IPv4 address, or a network of 64 bits of IPv6, which is what one host usually has to
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A number of equal places, of which one holder gets only some.
#[derive(Debug)]
pub struct Shares<K> {
    limit: usize,
    each: usize,
    used: Mutex<Used<K>>,
}

#[derive(Debug)]
struct Used<K> {
    total: usize,
    /// Only holders with a place.
    by_holder: HashMap<K, usize>,
}

/// A place, which becomes free when it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// `limit` places, of which each holder gets at most `each`.
    #[must_use]
    pub fn new(limit: usize, each: usize) -> Arc<Self> {
        let used = Used { total: 0, by_holder: HashMap::new() };
        Arc::new(Self { limit, each, used: Mutex::new(used) })
    }

    /// How many places each holder gets at most.
    #[must_use]
    pub fn each(&self) -> usize {
        self.each
    }

    /// Takes a place; `None` if all are taken, or the holder has its share already.
    pub fn take(self: &Arc<Self>, holder: &K) -> Option<Share<K>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let own = used.by_holder.get(holder).copied().unwrap_or(0);
        if used.total >= self.limit || own >= self.each {
            return None;
        }
        used.total += 1;
        used.by_holder.insert(holder.clone(), own + 1);
        drop(used);
        Some(Share { shares: Arc::clone(self), holder: holder.clone() })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut used = self.shares.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.total -= 1;
        if let Some(own) = used.by_holder.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                used.by_holder.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_host_is_one_source_however_its_address_is_written() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }

    #[test]
    fn no_holder_gets_more_than_its_share_and_all_together_the_limit() {
        let shares = Shares::new(3, 2);
        let a = [shares.take(&"a"), shares.take(&"a")];
        assert!(a.iter().all(Option::is_some) && shares.take(&"a").is_none());
        let b = shares.take(&"b").unwrap();
        assert!(shares.take(&"c").is_none());
        drop(b);
        assert!(shares.take(&"c").is_some());
        drop(a);
        assert!(shares.used.lock().unwrap().by_holder.is_empty());
    }
}
