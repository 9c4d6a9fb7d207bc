//! The thread that computes. It takes commands in order, drops those that a newer one has superseded, and keeps the
//! loaded job when the connection is lost.
//!
//! Loading jobs and sending their initial weights is in [`loading`], computing gradients in [`gradients`].

mod gradients;
mod loaded;
mod loading;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lookbehind_common::ids::JobId;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::WorkerError;
use super::backoff::Backoff;
use super::command::{ExecutorCommand, Generation, Lengths, WantedJob};
use crate::compute::Backend;
use crate::telemetry::WorkerMetrics;
use loaded::Loaded;

/// Commands that may wait. More would mean that coordinator and worker have a different view of the session, which ends
/// it.
const COMMANDS: usize = 64;

/// How long a worker that stops waits for the shard that it is computing.
const FINISH: Duration = Duration::from_secs(2);

/// The executor of a worker process: one thread for all its sessions. When this is dropped, the thread finishes the
/// commands that it was given and ends.
pub(super) struct Executor {
    commands: mpsc::Sender<ExecutorCommand>,
    generation: Arc<Generation>,
    wanted: Arc<WantedJob>,
    prepared: Prepared,
    /// Resolves when the thread has released its job.
    ended: oneshot::Receiver<()>,
}

/// The part of the executor that a session uses.
#[derive(Clone)]
pub(super) struct ExecutorHandle {
    pub(super) commands: mpsc::Sender<ExecutorCommand>,
    pub(super) generation: Arc<Generation>,
    pub(super) wanted: Arc<WantedJob>,
    prepared: Prepared,
}

/// The job that is loaded, and the lengths of its flat buffers.
type Prepared = Arc<Mutex<Option<(JobId, Lengths)>>>;

impl ExecutorHandle {
    /// Lengths of the flat buffers of a job, if it is loaded.
    pub(super) fn lengths(&self, job: &JobId) -> Option<Lengths> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.as_ref().filter(|(loaded, _)| loaded == job).map(|(_, lengths)| *lengths)
    }

    /// Nothing that the executor does, or is to do, is wanted any more.
    pub(super) fn abandon(&self) {
        self.generation.supersede();
        self.wanted.clear();
    }
}

impl Executor {
    /// Starts the thread; transfers run on `runtime`.
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        runtime: Handle,
        metrics: WorkerMetrics,
    ) -> Result<Self, WorkerError> {
        let (commands, mut queue) = mpsc::channel(COMMANDS);
        let (working, ended) = oneshot::channel();
        let generation = Arc::new(Generation::default());
        let prepared = Prepared::default();
        let mut thread = Thread {
            backend,
            runtime,
            generation: Arc::clone(&generation),
            prepared: Arc::clone(&prepared),
            loaded: None,
            exchanged_in: None,
            backoff: Backoff::default(),
            metrics,
        };
        std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                while let Some(command) = queue.blocking_recv() {
                    thread.carry_out(command);
                }
                drop(thread);
                drop(working);
            })
            .map_err(|error| WorkerError::System(error.to_string()))?;
        Ok(Self { commands, generation, wanted: Arc::default(), prepared, ended })
    }

    /// Ends the thread, and waits briefly until it has released its device: devices should be closed properly.
    pub(super) async fn finish(self) {
        self.handle().abandon();
        drop(self.commands);
        let _ = tokio::time::timeout(FINISH, self.ended).await;
    }

    pub(super) fn handle(&self) -> ExecutorHandle {
        ExecutorHandle {
            commands: self.commands.clone(),
            generation: Arc::clone(&self.generation),
            wanted: Arc::clone(&self.wanted),
            prepared: Arc::clone(&self.prepared),
        }
    }
}

/// State of the thread.
struct Thread {
    backend: Arc<dyn Backend>,
    /// Runtime of the transfers; the thread blocks on them.
    runtime: Handle,
    generation: Arc<Generation>,
    prepared: Prepared,
    /// How long it took last to get weights from several sides.
    exchanged_in: Option<Duration>,
    /// One job at a time: model, data and weights may take most of the memory.
    loaded: Option<Loaded>,
    /// Waiting times after failed transfers.
    backoff: Backoff,
    metrics: WorkerMetrics,
}

impl Thread {
    fn carry_out(&mut self, command: ExecutorCommand) {
        match command {
            ExecutorCommand::Prepare(context, job, spec, cancellation) => {
                self.prepare(&context, &job, &spec, &cancellation);
            }
            ExecutorCommand::SendInitialState(context, job) => self.send_initial_state(&context, &job),
            ExecutorCommand::Compute(context, assignment) => self.compute(&context, &assignment),
            ExecutorCommand::Release(job) => {
                if self.loaded.as_ref().is_some_and(|loaded| loaded.id == job) {
                    self.loaded = None;
                }
            }
        }
    }
}
