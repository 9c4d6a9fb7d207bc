//! The cost model of a gradient request: computing, then moving tensors.
//!
//! Computing takes as long as the worker that needs longest. Let t be the seconds that one copy of the weights takes over
//! a link; a partial has as many bytes. Through the coordinator, whose link carries everything, the weights and all
//! partials take t (1 + C), where C is the number of partials, because downloads that take turns overlap with the first
//! uploads. Between W workers that own equal ranges, the weights take t; a worker with c partials sends all of their
//! ranges but its own to their owners, and its own range of the sum to the coordinator: t (c (1 − 1/W) + 1/W). What it
//! receives as an owner is no more than what the worker with the most partials sends. The exchange takes as long as the
//! worker that needs longest, and at least the t that the coordinator receives.

/// How weights and partials of a request travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Through the coordinator.
    Coordinator,
    /// Between workers that own ranges of blocks.
    Workers,
}

/// What moving tensors costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// How they travel.
    pub route: Route,
    /// Seconds that one copy of the weights takes over a link; 0 where that is not known.
    pub copy_seconds: f64,
    /// Number of workers between which the blocks are divided, at least 1.
    pub workers: u32,
}

/// The cost of moving the partials of some workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Seconds of the busiest worker's link.
    pub busiest: f64,
    /// Seconds of the coordinator's link.
    pub shared: f64,
}

impl Load {
    /// The cost of the partials of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { busiest: self.busiest.max(other.busiest), shared: self.shared + other.shared }
    }
}

impl Traffic {
    /// The cost of `partials` partials of one worker, over whose link a transfer takes `link` times as long as over the
    /// others'.
    pub fn of(&self, partials: u32, link: f64) -> Load {
        let own = 1.0 / f64::from(self.workers.max(1));
        let partials = f64::from(partials);
        match self.route {
            Route::Coordinator => Load { busiest: 0.0, shared: self.copy_seconds * partials },
            Route::Workers if partials == 0.0 => Load::default(),
            Route::Workers => {
                Load { busiest: self.copy_seconds * link * (partials * (1.0 - own) + own), shared: 0.0 }
            }
        }
    }

    /// Seconds in which weights and partials are moved.
    pub fn seconds(&self, load: Load) -> f64 {
        let least = match self.route {
            Route::Coordinator => 0.0,
            Route::Workers => self.copy_seconds,
        };
        self.copy_seconds + load.busiest.max(least) + load.shared
    }

    /// The fewest seconds in which weights and at least `partials` partials can be moved.
    pub fn least_seconds(&self, partials: u32) -> f64 {
        match self.route {
            Route::Coordinator => self.copy_seconds * (1.0 + f64::from(partials)),
            Route::Workers => 2.0 * self.copy_seconds,
        }
    }

    /// The seconds of one copy, if `workers` workers moved their partials, at most `most` each, in `seconds` between each
    /// other.
    pub(crate) fn copy_seconds_between(seconds: f64, workers: u32, most: u32) -> f64 {
        let unit = Self { route: Route::Workers, copy_seconds: 1.0, workers };
        seconds / (unit.seconds(unit.of(most, 1.0)) - unit.copy_seconds)
    }

    /// The seconds of one copy, if weights and `partials` partials were moved in `seconds` through the coordinator.
    pub(crate) fn copy_seconds_through(seconds: f64, partials: u32) -> f64 {
        let unit = Self { route: Route::Coordinator, copy_seconds: 1.0, workers: 1 };
        seconds / unit.seconds(unit.of(partials, 1.0))
    }
}
