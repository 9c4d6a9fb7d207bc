//! Whether shards are computed one after the other, each with all threads, or in parallel, each with one: whichever
//! turns out faster on this machine for this job. Results do not depend on it.

use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Number of groups of shards with which each way is tried.
const TRIALS: u32 = 3;

/// Decides how shards are computed.
pub(super) struct Schedule {
    threads: usize,
    ways: Vec<Way>,
}

/// One way to compute a group of shards: as many at once as there are pools.
struct Way {
    pools: Vec<ThreadPool>,
    trials: u32,
    /// The shortest time for a group so far.
    best: Duration,
}

impl Schedule {
    /// A schedule for `threads` threads that computes one shard after the other.
    pub(super) fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let threads = threads.max(1);
        Ok(Self { threads, ways: vec![Way::new(1, threads)?] })
    }

    /// Allows shards to be computed in parallel if `limit` of them at once are enough to occupy all threads.
    pub(super) fn allow_side_by_side(&mut self, limit: u64) -> Result<(), ThreadPoolBuildError> {
        if self.threads > 1 && limit >= self.threads as u64 {
            self.ways.push(Way::new(self.threads, 1)?);
        }
        Ok(())
    }

    /// How many shards a group should have.
    pub(super) fn group(&self) -> usize {
        self.threads
    }

    /// Computes a group of inputs; the results are in their order.
    pub(super) fn run<I: Send, O: Send>(
        &mut self,
        inputs: Vec<I>,
        compute: impl Fn(I) -> O + Sync,
    ) -> Vec<O> {
        let whole = inputs.len() == self.threads;
        let choice = if inputs.len() == 1 { 0 } else { self.choice() };
        let way = &mut self.ways[choice];
        let begun = Instant::now();
        let results = way.run(inputs, &compute);
        if whole {
            way.best = way.best.min(begun.elapsed());
            way.trials = way.trials.saturating_add(1);
        }
        results
    }

    /// Runs a computation with all threads.
    pub(super) fn run_one<O: Send>(&self, compute: impl FnOnce() -> O + Send) -> O {
        // The first way has one pool, which has all threads.
        self.ways[0].pools[0].install(compute)
    }

    /// Index of the way on trial, or else of the fastest.
    #[expect(clippy::expect_used, reason = "a schedule is made with a way and never loses one")]
    fn choice(&self) -> usize {
        let ways = || self.ways.iter().enumerate();
        let on_trial = ways().find(|(_, way)| way.trials < TRIALS);
        let fastest = || ways().min_by_key(|(_, way)| way.best);
        on_trial.or_else(fastest).expect("a schedule has a way").0
    }
}

impl Way {
    fn new(at_once: usize, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = |number| {
            let name = move |thread| format!("shard-{number}.{thread}");
            ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()
        };
        let pools = (0..at_once).map(pool).collect::<Result<_, _>>()?;
        Ok(Self { pools, trials: 0, best: Duration::MAX })
    }

    #[expect(clippy::expect_used, reason = "a result that is left out would be added as another shard's")]
    fn run<I: Send, O: Send>(&self, inputs: Vec<I>, compute: &(impl Fn(I) -> O + Sync)) -> Vec<O> {
        if let [pool] = self.pools.as_slice() {
            return pool.install(|| inputs.into_iter().map(compute).collect());
        }
        let mut places: Vec<Place<I, O>> = inputs.into_iter().map(|input| (Some(input), None)).collect();
        for places in places.chunks_mut(self.pools.len()) {
            side_by_side(&self.pools, places, compute);
        }
        // A scope ends only after everything spawned in it has ended, and it propagates panics: every place is filled.
        places.into_iter().map(|(_, result)| result.expect("every place was computed")).collect()
    }
}

/// An input until it is taken, then its result.
type Place<I, O> = (Option<I>, Option<O>);

/// Computes each place in a pool of its own.
fn side_by_side<I: Send, O: Send>(
    pools: &[ThreadPool],
    places: &mut [Place<I, O>],
    compute: &(impl Fn(I) -> O + Sync),
) {
    if let (Some((pool, pools)), Some(((input, result), places))) =
        (pools.split_first(), places.split_first_mut())
    {
        pool.in_place_scope(|scope| {
            scope.spawn(move |_| *result = input.take().map(compute));
            side_by_side(pools, places, compute);
        });
    }
}

#[cfg(test)]
mod tests;
