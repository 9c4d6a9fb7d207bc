//! What a cluster on hosts is started as, and what it exchanges.

use std::time::Duration;

use clap::ValueEnum;
use lookbehind_coordinator::state::ExchangeRoute;

use super::Failure;
use super::scheme::Scheme;

/// Which host each part is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The coordinator has the first host for itself; the workers are on the next ones.
    Apart,
    /// The coordinator is on the host of the first worker.
    WithFirstWorker,
}

impl Placement {
    /// Index of the first worker's host; the coordinator is on host 0.
    pub fn first_worker(self) -> usize {
        match self {
            Self::Apart => 1,
            Self::WithFirstWorker => 0,
        }
    }
}

/// What a coordinator and workers are started as.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which host each part is on.
    pub placement: Placement,
    /// How long each worker waits for a shard, as if it computed; there are as many workers.
    pub per_shard: Vec<Duration>,
    /// Whether all connections are encrypted.
    pub guarded: bool,
    /// How the coordinator chooses the way of tensors.
    pub route: ExchangeRoute,
}

impl Setup {
    /// So many workers whose gradients are ready, in plain text.
    pub fn new(placement: Placement, workers: usize) -> Self {
        let per_shard = vec![Duration::ZERO; workers];
        Self { placement, per_shard, guarded: false, route: ExchangeRoute::default() }
    }

    /// The route as the coordinator's option names it.
    pub(super) fn route_name(&self) -> String {
        self.route.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.per_shard.len()
    }
}

/// What the workers of a cluster exchange.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What an outer step exchanges.
    pub scheme: Scheme,
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Number of shards of each batch.
    pub shards: u32,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, parameters, shards } = self;
        write!(f, "{scheme}:{parameters}:{shards}")
    }
}

impl std::str::FromStr for Load {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let fields: Vec<&str> = text.split(':').collect();
        let [scheme, parameters, shards] = fields[..] else {
            return Err("expected a scheme, parameters and shards".into());
        };
        Ok(Self { scheme: scheme.parse()?, parameters: parameters.parse()?, shards: shards.parse()? })
    }
}
