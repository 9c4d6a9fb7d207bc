//! Which way the tensors of a job travel, by what both ways were measured to take.
//!
//! The [model](super::model) knows links. Where no link bounds an exchange, because workers share a host or the network is
//! faster than their processors, what counts is how often bytes are copied, and the way through the coordinator may be the
//! quicker one. So each way has a measurement of its own, and the way that is not taken is tried from time to time.

use super::model::Route;

/// Requests after which the other way is tried; each time in vain, twice as many.
const FIRST_TRIAL: u32 = 8;
const MOST_DOUBLINGS: u32 = 10;
/// A way is not tried if the model has it take more than this many times as long over links.
const MOST: f64 = 4.0;
/// The other way is taken if it is quicker by more than this factor.
const QUICKER: f64 = 1.1;

/// How a coordinator chooses the way of weights and partials. The results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExchangeRoute {
    /// The quicker way, by what both were measured to take.
    #[default]
    Measured,
    /// Between the workers, wherever they reach each other.
    Workers,
    /// Through the coordinator.
    Coordinator,
}

/// What was measured of both ways, and which one is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Routes {
    /// Seconds of one copy of the weights in the model, if moved between workers and if moved through the coordinator.
    between: Option<f64>,
    through: Option<f64>,
    taken: Route,
    /// The way of the newest request that was measured.
    newest: Route,
    /// Requests in a row by the way that is taken.
    kept: u32,
    /// Trials in a row that were in vain.
    in_vain: u32,
}

impl Default for Routes {
    fn default() -> Self {
        let (taken, newest) = (Route::Workers, Route::Workers);
        Self { between: None, through: None, taken, newest, kept: 0, in_vain: 0 }
    }
}

impl Routes {
    /// Seconds that one copy of the weights takes in the model; what is known of the other way if this one was not
    /// measured, and 0 if nothing is known.
    pub(crate) fn copy_seconds(&self, route: Route) -> f64 {
        let (own, other) = match route {
            Route::Workers => (self.between, self.through),
            Route::Coordinator => (self.through, self.between),
        };
        own.or(other).unwrap_or(0.0)
    }

    /// The way that is taken, apart from trials.
    pub(crate) fn taken(&self) -> Route {
        self.taken
    }

    /// The way of the next request. `seconds`: how long a request takes by each way in the model, with the
    /// [`copy_seconds`](Self::copy_seconds) of that way. `crosses_links`: whether it goes over links at all.
    pub(crate) fn next(&self, crosses_links: bool, seconds: impl Fn(Route) -> f64) -> Route {
        let taken_is_measured = match self.taken {
            Route::Workers => self.between.is_some(),
            Route::Coordinator => self.through.is_some(),
        };
        let is_due = self.kept >= FIRST_TRIAL << self.in_vain.min(MOST_DOUBLINGS);
        let other = other(self.taken);
        let is_dear = || crosses_links && seconds(other) > MOST * seconds(self.taken);
        if taken_is_measured && is_due && !is_dear() { other } else { self.taken }
    }

    /// Notes what a complete request had one copy of the weights take.
    pub(crate) fn note(&mut self, route: Route, copy_seconds: f64) {
        let known = match route {
            Route::Workers => &mut self.between,
            Route::Coordinator => &mut self.through,
        };
        if route == self.newest {
            crate::state::active::smooth(known, copy_seconds);
        } else {
            // What was measured before the other way was taken is of another time.
            *known = Some(copy_seconds);
        }
        self.newest = route;
    }

    /// Decides which way is taken from now on, after a request was [noted](Self::note).
    pub(crate) fn settle(&mut self, seconds: impl Fn(Route) -> f64) {
        let both_are_known = self.between.is_some() && self.through.is_some();
        let other = other(self.taken);
        if both_are_known && QUICKER * seconds(other) < seconds(self.taken) {
            (self.taken, self.kept, self.in_vain) = (other, 0, 0);
        } else if self.newest == self.taken {
            self.kept = self.kept.saturating_add(1);
        } else if both_are_known {
            self.kept = 0;
            self.in_vain = self.in_vain.saturating_add(1);
        }
    }
}

fn other(route: Route) -> Route {
    match route {
        Route::Coordinator => Route::Workers,
        Route::Workers => Route::Coordinator,
    }
}

#[cfg(test)]
mod tests;
