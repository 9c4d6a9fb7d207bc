//! Metrics of the exchange with other workers: with whom the time goes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lookbehind_telemetry::metrics::{Direction, Seconds};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

/// What the time of an exchange goes to, apart from adding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the first block arrives: the other worker is still computing, or waits itself.
    Waiting,
    /// From the first block to the last one.
    Receiving,
    /// From the first block that the other worker gets to the last one.
    Sending,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Waiting, Self::Receiving, Self::Sending];

    fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Receiving => "receiving",
            Self::Sending => "sending",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerPhase {
    peer: String,
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerDirection {
    peer: String,
    direction: &'static str,
}

/// Counters of the exchange with other workers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExchangeMetrics {
    time: Family<PeerPhase, Seconds>,
    bytes: Family<PeerDirection, Counter>,
    adding: Seconds,
    /// Workers that have series.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl ExchangeMetrics {
    pub(super) fn register(&self, worker: &mut Registry) {
        let help = "Time of exchanges with another worker";
        worker.register_with_unit("exchange", help, Unit::Seconds, self.time.clone());
        let help = "Weights and partials that went between this worker and another one";
        worker.register_with_unit("exchange", help, Unit::Bytes, self.bytes.clone());
        let help = "Time that adding blocks of partials took";
        worker.register_with_unit("exchange_adding", help, Unit::Seconds, self.adding.clone());
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the series of the workers that take part in an exchange, and ends those of all others: over time, a worker
    /// may meet any number.
    pub(crate) fn meet<'a>(&self, peers: impl Iterator<Item = &'a str>) {
        let present: BTreeSet<String> = peers.map(str::to_owned).collect();
        let mut known = self.known();
        for gone in known.difference(&present) {
            for phase in Phase::ALL {
                self.time.remove(&PeerPhase { peer: gone.clone(), phase: phase.label() });
            }
            for direction in Direction::ALL {
                self.bytes.remove(&of_peer(gone, direction));
            }
        }
        for new in present.difference(&known) {
            for phase in Phase::ALL {
                self.time.get_or_create_owned(&PeerPhase { peer: new.clone(), phase: phase.label() });
            }
            for direction in Direction::ALL {
                self.bytes.get_or_create_owned(&of_peer(new, direction));
            }
        }
        *known = present;
    }

    /// Records blocks that were received from another worker.
    pub(crate) fn received(&self, peer: &str, bytes: usize, waiting: Duration, receiving: Duration) {
        self.add(
            peer,
            Direction::Received,
            bytes,
            [(Phase::Waiting, waiting), (Phase::Receiving, receiving)],
        );
    }

    /// Records blocks that were sent to another worker.
    pub(crate) fn sent(&self, peer: &str, bytes: usize, sending: Duration) {
        self.add(peer, Direction::Sent, bytes, [(Phase::Sending, sending)]);
    }

    fn add<const N: usize>(
        &self,
        peer: &str,
        direction: Direction,
        bytes: usize,
        times: [(Phase, Duration); N],
    ) {
        // Held meanwhile, so that no series comes back after its worker has gone.
        let known = self.known();
        if !known.contains(peer) {
            return;
        }
        self.bytes.get_or_create(&of_peer(peer, direction)).inc_by(bytes as u64);
        for (phase, time) in times {
            let label = PeerPhase { peer: peer.to_owned(), phase: phase.label() };
            self.time.get_or_create(&label).inc_by(time.as_secs_f64());
        }
    }

    /// Records that blocks were added.
    pub(crate) fn added(&self, time: Duration) {
        self.adding.inc_by(time.as_secs_f64());
    }
}

fn of_peer(peer: &str, direction: Direction) -> PeerDirection {
    let [(_, direction)] = direction.label();
    PeerDirection { peer: peer.to_owned(), direction }
}
