//! How the tensors of a complete request were moved. The cost of links is learnt from it.

use std::time::Duration;

use super::Request;
use crate::state::assign::model::{Route, Traffic};
use crate::state::exchange::Exchange;

impl Request {
    /// Shards of its samples.
    pub(crate) fn shards(&self) -> u32 {
        self.coordinates.shards
    }

    /// How its weights and partials travel.
    pub(crate) fn route(&self) -> Route {
        if self.exchange.is_some() { Route::Workers } else { Route::Coordinator }
    }

    /// The time that one copy of the weights takes over a link, in seconds, as it follows from the time that this request
    /// took, which is complete now. `None` if that says nothing, because the coordinator has taken over blocks.
    pub(crate) fn copy_seconds(&self, now: Duration) -> Option<f64> {
        match &self.exchange {
            Some(exchange) => {
                let seconds = now.saturating_sub(exchange.announced_at()?).as_secs_f64();
                let workers = exchange.owners().len() as u32;
                let is_usual = !exchange.was_taken_over();
                is_usual.then(|| Traffic::copy_seconds_between(seconds, workers, exchange.most_partials()))
            }
            None => {
                let took = now.saturating_sub(self.begun).as_secs_f64();
                let moving = (took - self.busiest().total()).max(0.0);
                Some(Traffic::copy_seconds_through(moving, self.filled.len() as u32))
            }
        }
    }

    /// How many times as long as usual each owner's range took, once the exchange is complete.
    pub(crate) fn range_factors(&self) -> Vec<(lookbehind_common::ids::SessionId, f64)> {
        self.exchange.as_ref().map(Exchange::range_factors).unwrap_or_default()
    }
}
