//! Connections whose caller has not said anything of value yet. They have places of their own, so that they cannot take
//! those of others; and a newcomer always gets in, at the expense of the oldest one from where most of them come.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::source::Source;

/// The part of the places that one source may have: one over this.
const SHARES: usize = 4;

/// The places for newcomers.
pub struct Newcomers {
    limit: usize,
    /// Places of one source.
    share: usize,
    present: Mutex<Present>,
    displaced: Box<dyn Fn() + Send + Sync>,
}

/// The newcomers of one source, by the order in which they came, and how each is closed.
type Queue = BTreeMap<u64, CancellationToken>;

#[derive(Default)]
struct Present {
    /// How many have come so far.
    entered: u64,
    total: usize,
    /// Only sources with a newcomer.
    by_source: HashMap<Source, Queue>,
}

/// A connection that is a newcomer, or was.
pub struct Newcomer {
    newcomers: Arc<Newcomers>,
    source: Source,
    close: CancellationToken,
    /// Its place; `None` while it is no newcomer.
    number: Mutex<Option<u64>>,
}

impl Newcomers {
    /// `limit` places. `displaced` is called for each connection that is closed to make room for another.
    pub fn new(limit: usize, displaced: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let limit = limit.max(1);
        let share = (limit / SHARES).max(1);
        Arc::new(Self { limit, share, present: Mutex::default(), displaced: Box::new(displaced) })
    }

    /// Enters a connection, and closes another one if there is no room for it.
    pub fn enter(self: &Arc<Self>, source: Source) -> Newcomer {
        let close = CancellationToken::new();
        let newcomer = Newcomer { newcomers: Arc::clone(self), source, close, number: Mutex::default() };
        newcomer.enter();
        newcomer
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn of(&self, source: Source) -> usize {
        self.by_source.get(&source).map_or(0, Queue::len)
    }

    /// Takes the oldest newcomer of a source out.
    fn take_oldest(&mut self, source: Source) -> Option<CancellationToken> {
        let (number, close) = self.by_source.get(&source)?.first_key_value()?;
        let (number, close) = (*number, close.clone());
        self.remove(source, number);
        Some(close)
    }

    fn remove(&mut self, source: Source, number: u64) {
        let Some(queue) = self.by_source.get_mut(&source) else { return };
        if queue.remove(&number).is_some() {
            self.total -= 1;
        }
        if queue.is_empty() {
            self.by_source.remove(&source);
        }
    }

    /// The source with the most newcomers.
    fn greediest(&self) -> Option<Source> {
        self.by_source.iter().max_by_key(|(_, queue)| queue.len()).map(|(source, _)| *source)
    }
}

impl Newcomer {
    /// Takes a place again; no effect on one that has a place.
    pub fn enter(&self) {
        let mut own = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_some() {
            return;
        }
        let mut present = self.newcomers.present();
        let crowded = match present.of(self.source) >= self.newcomers.share {
            true => Some(self.source),
            false if present.total >= self.newcomers.limit => present.greediest(),
            false => None,
        };
        let displaced = crowded.and_then(|source| present.take_oldest(source));
        present.entered += 1;
        present.total += 1;
        let number = present.entered;
        present.by_source.entry(self.source).or_default().insert(number, self.close.clone());
        drop(present);
        *own = Some(number);
        drop(own);
        if let Some(close) = displaced {
            close.cancel();
            (self.newcomers.displaced)();
        }
    }

    /// Gives the place up: the caller is no newcomer any more.
    pub fn leave(&self) {
        let number = self.number.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = number {
            self.newcomers.present().remove(self.source, number);
        }
    }

    /// Is cancelled when the connection has to be closed.
    #[must_use]
    pub fn closing(&self) -> &CancellationToken {
        &self.close
    }

    /// Where the connection comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn source(number: u8) -> Source {
        Source::from(IpAddr::from([10, 0, 0, number]))
    }

    fn is_closed(newcomer: &Newcomer) -> bool {
        newcomer.closing().is_cancelled()
    }

    #[test]
    fn the_oldest_of_a_source_makes_room_beyond_its_share() {
        let displaced = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&displaced);
        let newcomers = Newcomers::new(8, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let (one, two) = (newcomers.enter(source(1)), newcomers.enter(source(1)));
        let other = newcomers.enter(source(2));
        let three = newcomers.enter(source(1));
        assert!(is_closed(&one) && ![&two, &other, &three].into_iter().any(is_closed));
        two.leave();
        let _four = newcomers.enter(source(1));
        assert!(!is_closed(&two) && !is_closed(&three), "there was room again");
        two.enter();
        assert!(is_closed(&three), "who comes back counts as new");
        assert_eq!(displaced.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn when_all_places_are_taken_the_greediest_source_makes_room() {
        let newcomers = Newcomers::new(8, || ());
        let honest = [newcomers.enter(source(1)), newcomers.enter(source(2))];
        let greedy: Vec<_> = (0..6).map(|number| newcomers.enter(source(3 + number / 2))).collect();
        let late = newcomers.enter(source(9));
        assert!(!honest.iter().any(is_closed) && !is_closed(&late));
        assert_eq!(greedy.iter().filter(|newcomer| is_closed(newcomer)).count(), 1);
    }

    #[test]
    fn who_has_left_leaves_no_trace() {
        let newcomers = Newcomers::new(8, || ());
        let (one, two) = (newcomers.enter(source(1)), newcomers.enter(source(2)));
        one.leave();
        drop(two);
        let present = newcomers.present();
        assert!(present.total == 0 && present.by_source.is_empty());
    }
}
