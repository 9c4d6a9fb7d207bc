//! Prepares samples ahead of time. The order of samples is known: while one batch is computed, another thread prepares
//! the same shards of the next, and all gradients of one batch share what was prepared once.
//!
//! No result depends on what is ready: samples are identified by their numbers, and what was not foreseen, or does not
//! fit into the memory for it, is prepared when it is asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lookbehind_common::test_set::TestSet;

use super::batch::Batch;
use super::panics;
use crate::data::{DataError, Dataset, SampleContext, Split};

/// Most requests that may wait to be prepared.
const QUEUE: usize = 256;

/// Samples that are, or will be, requested together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SampleRequest {
    /// What they belong to.
    pub(super) part: Part,
    /// Their numbers within the split.
    pub(super) samples: Vec<u64>,
}

/// What samples belong to: a batch, or a piece of a test. Samples are kept for the parts that are wanted now
/// and next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) set: SampleSet,
    pub(super) epoch: u64,
    /// The number of the batch or of the piece.
    pub(super) number: u64,
}

/// The samples of a job from which parts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleSet {
    /// The training split, augmented.
    Training,
    /// What a test is computed on.
    Tested(TestSet),
}

/// Hands out batches of a data set.
pub(super) struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    waited: Duration,
}

struct Shared {
    dataset: Arc<dyn Dataset>,
    seed: u64,
    /// Most samples that are kept.
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the thread has yet to prepare.
    queue: VecDeque<SampleRequest>,
    /// What it is preparing now.
    running: Option<SampleRequest>,
    ready: Vec<(SampleRequest, Batch)>,
    /// Parts that samples are kept for.
    wanted: Vec<Part>,
    closed: bool,
}

impl Loader {
    /// A loader that keeps at most `limit` bytes of inputs.
    pub(super) fn new(dataset: Arc<dyn Dataset>, seed: u64, limit: u64) -> Self {
        let sample = dataset.description().input_size() as u64 * size_of::<f32>() as u64;
        let limit = limit / sample.max(1);
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { dataset, seed, limit, state, changed });
        Self { shared, thread: None, waited: Duration::ZERO }
    }

    pub(super) fn dataset(&self) -> &dyn Dataset {
        self.shared.dataset.as_ref()
    }

    /// How long callers have waited for their samples, in total.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns the requested samples; `next` is the request that probably follows. A `next` without samples prepares
    /// nothing, but what other requests prefetched of its part is kept.
    pub(super) fn get(
        &mut self,
        wanted: &SampleRequest,
        next: Option<SampleRequest>,
    ) -> Result<Batch, DataError> {
        let begun = Instant::now();
        let parts = [Some(wanted.part), next.as_ref().map(|next| next.part)];
        self.shared.state().set_wanted(wanted.part.set, parts);
        let batch = self.take(wanted);
        if let Some(next) = next {
            self.prefetch(next);
        }
        self.waited += begun.elapsed();
        batch
    }

    fn take(&self, wanted: &SampleRequest) -> Result<Batch, DataError> {
        if let Some(batch) = self.shared.state().prepared(wanted, &self.shared.changed) {
            return Ok(batch);
        }
        let batch = self.shared.prepare(wanted)?;
        self.shared.state().keep(wanted.clone(), &batch, self.shared.limit);
        Ok(batch)
    }

    fn prefetch(&mut self, wanted: SampleRequest) {
        let mut state = self.shared.state();
        let samples = wanted.samples.len();
        let fits = state.queue.len() < QUEUE && (state.samples() + samples) as u64 <= self.shared.limit;
        if samples == 0 || !fits || state.is_queued_or_ready(&wanted) {
            return;
        }
        state.queue.push_back(wanted);
        drop(state);
        self.shared.changed.notify_all();
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            // If no thread can be started, samples are prepared when they are asked for.
            let thread = std::thread::Builder::new().name("data".into()).spawn(move || shared.run());
            self.thread =
                thread.inspect_err(|error| tracing::debug!(%error, "nothing is prepared ahead")).ok();
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> Guard<'_> {
        // No code panics while it holds the lock, so a poisoned state is consistent.
        Guard(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn prepare(&self, wanted: &SampleRequest) -> Result<Batch, DataError> {
        let context = SampleContext { seed: self.seed, epoch: wanted.part.epoch };
        let (split, batch) = match wanted.part.set {
            SampleSet::Training => {
                (Split::Train, self.dataset.batch(Split::Train, &wanted.samples, context)?)
            }
            SampleSet::Tested(set) => (Split::Test, self.dataset.test_batch(set, &wanted.samples, context)?),
        };
        Batch::new(batch, split, wanted.samples.len(), self.dataset.description())
    }

    /// The thread: prepares what is foreseen until the loader is dropped. A failure is ignored here: the caller that
    /// asks for the samples prepares them again and gets the error.
    fn run(&self) {
        let mut state = self.state();
        while !state.closed {
            let Some(wanted) = state.queue.pop_front() else {
                state = state.wait(&self.changed);
                continue;
            };
            state.running = Some(wanted.clone());
            drop(state);
            let prepared = panics::catch(|| self.prepare(&wanted));
            state = self.state();
            state.running = None;
            if let Ok(Ok(batch)) = prepared {
                state.keep(wanted, &batch, self.limit);
            }
            self.changed.notify_all();
        }
    }
}

/// The state, locked.
struct Guard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Guard<'_> {
    fn wait(self, changed: &Condvar) -> Self {
        Self(changed.wait(self.0).unwrap_or_else(PoisonError::into_inner))
    }

    /// The samples, if they are ready or being prepared.
    fn prepared(mut self, wanted: &SampleRequest, changed: &Condvar) -> Option<Batch> {
        while self.running.as_ref() == Some(wanted) {
            self = self.wait(changed);
        }
        self.queue.retain(|queued| queued != wanted);
        self.ready.iter().find(|(known, _)| known == wanted).map(|(_, batch)| batch.clone())
    }
}

impl State {
    /// Discards samples of a set that belong to neither of the parts, and those of other tests: they follow each other.
    fn set_wanted(&mut self, set: SampleSet, parts: [Option<Part>; 2]) {
        let training = |set| set == SampleSet::Training;
        self.wanted.retain(|part| training(part.set) != training(set));
        self.wanted.extend(parts.into_iter().flatten());
        let wanted = &self.wanted;
        self.queue.retain(|request| wanted.contains(&request.part));
        self.ready.retain(|(request, _)| wanted.contains(&request.part));
    }

    /// Number of samples that are ready or will be.
    fn samples(&self) -> usize {
        let ready = self.ready.iter().map(|(wanted, _)| wanted);
        ready.chain(&self.queue).chain(&self.running).map(|wanted| wanted.samples.len()).sum()
    }

    fn is_queued_or_ready(&self, wanted: &SampleRequest) -> bool {
        self.running.as_ref() == Some(wanted)
            || self.queue.contains(wanted)
            || self.ready.iter().any(|(known, _)| known == wanted)
    }

    fn keep(&mut self, wanted: SampleRequest, batch: &Batch, limit: u64) {
        let kept: usize = self.ready.iter().map(|(known, _)| known.samples.len()).sum();
        if self.wanted.contains(&wanted.part) && (kept + wanted.samples.len()) as u64 <= limit {
            self.ready.push((wanted, batch.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
