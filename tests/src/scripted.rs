//! A backend that a test controls: it delays requests, changes their results, or poses as another machine.

use std::sync::{Arc, Condvar, Mutex};

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobDescription, JobSpec, Precision};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::Segment;
use lookbehind_worker::compute::{
    Backend, ComputeError, PrepareError, PreparedJob, Request, RequestKind, Rounding, Stopped, Watch,
    reduce_shards,
};
use lookbehind_worker::data::Cancellation;
use tokio::sync::watch;

use crate::client::{PATIENCE, within};

/// What a test does with a worker; the default methods do nothing.
pub trait Script: Send + Sync + 'static {
    /// Called before a shard is computed.
    fn before(&self, _request: &Request, _shard: u32) {}

    /// Called after a shard was computed; may change its partial.
    fn after(&self, _request: &Request, _shard: u32, _partial: &mut Partial) {}

    /// Called when the probe is requested; may return another digest.
    fn probe(&self, digest: Digest) -> Digest {
        digest
    }
}

/// A backend whose requests pass through a script.
pub struct Scripted {
    inner: Arc<dyn Backend>,
    script: Arc<dyn Script>,
    class: Option<String>,
}

impl Scripted {
    /// Wraps a backend in a script.
    pub fn new(inner: Arc<dyn Backend>, script: Arc<dyn Script>) -> Arc<Self> {
        Arc::new(Self { inner, script, class: None })
    }

    /// A backend that poses as a machine of another compute class.
    pub fn of_class(inner: Arc<dyn Backend>, class: &str) -> Arc<Self> {
        struct Other(String);
        impl Script for Other {
            fn probe(&self, digest: Digest) -> Digest {
                Digest::of(format!("{digest} on {}", self.0).as_bytes())
            }
        }
        Arc::new(Self { inner, script: Arc::new(Other(class.to_owned())), class: Some(class.to_owned()) })
    }
}

impl Backend for Scripted {
    fn device(&self) -> String {
        self.inner.device()
    }

    fn class_description(&self, precision: Precision) -> String {
        self.class.clone().unwrap_or_else(|| self.inner.class_description(precision))
    }

    fn prepare(
        &self,
        spec: &JobSpec,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn PreparedJob>, PrepareError> {
        let inner = self.inner.prepare(spec, cancellation)?;
        let rounding = Rounding::of(spec, &inner.description().layout);
        Ok(Box::new(ScriptedJob { inner, rounding, script: Arc::clone(&self.script) }))
    }
}

struct ScriptedJob {
    inner: Box<dyn PreparedJob>,
    rounding: Rounding,
    script: Arc<dyn Script>,
}

impl PreparedJob for ScriptedJob {
    fn description(&self) -> &JobDescription {
        self.inner.description()
    }

    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError> {
        self.inner.initial_state()
    }

    fn probe(&self) -> Digest {
        self.script.probe(self.inner.probe())
    }

    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        self.inner.load(weights)
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        let rounding = self.rounding.clone();
        reduce_shards(segment, 1, &rounding, watch.as_ref(), |shards| {
            let shard = shards.start;
            self.script.before(request, shard);
            let mut partial =
                self.inner.segment(request, Segment { first: shard, end: shards.end }, watch)?;
            self.script.after(request, shard, &mut partial);
            Ok(vec![partial])
        })
    }
}

/// Blocks threads until the test opens it.
#[derive(Debug, Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    reached: watch::Sender<bool>,
}

impl Gate {
    /// Waits until the gate is open. It blocks the thread, so it must not be called on a runtime's thread.
    ///
    /// # Panics
    /// If the gate is not opened in time.
    pub fn pass(&self) {
        self.reached.send_replace(true);
        let open = self.open.lock().expect("no panic while it is locked");
        let waited = self
            .opened
            .wait_timeout_while(open, PATIENCE, |open| !*open)
            .expect("no panic while it is locked");
        assert!(!waited.1.timed_out(), "the gate was not opened");
    }

    /// Lets everything pass, now and later.
    ///
    /// # Panics
    /// If a worker panicked at the gate.
    pub fn open(&self) {
        *self.open.lock().expect("no panic while it is locked") = true;
        self.opened.notify_all();
    }

    /// Waits until a thread waits at the gate.
    ///
    /// # Panics
    /// If none does in time.
    pub async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        within("a caller at the gate", reached.wait_for(|reached| *reached)).await.expect("the gate stands");
    }
}

/// A script that stops the gradients of one batch at a gate.
pub struct HoldAt {
    /// Epoch of the batch.
    pub epoch: u64,
    /// The batch within the epoch.
    pub batch: u64,
    /// The gate at which its shards wait.
    pub gate: Arc<Gate>,
}

impl HoldAt {
    /// Creates the script and its gate.
    pub fn new(epoch: u64, batch: u64) -> (Arc<Gate>, Arc<Self>) {
        let gate = Arc::new(Gate::default());
        (Arc::clone(&gate), Arc::new(Self { epoch, batch, gate }))
    }
}

impl Script for HoldAt {
    fn before(&self, request: &Request, _shard: u32) {
        if request.kind == RequestKind::Gradient && (request.epoch, request.batch) == (self.epoch, self.batch)
        {
            self.gate.pass();
        }
    }
}
