//! The thread that computes. It takes tasks in order, drops those that a newer one has overtaken, and keeps loaded
//! jobs over a lost connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lookbehind_common::ids::JobId;
use lookbehind_common::job::{JobSpec, Precision};
use lookbehind_common::reduction::Node;
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

use super::WorkerError;
use super::task::{Assignment, Context, Newest, Says, Task};
use super::transfer::{Partial, Transfers};
use crate::compute::{Backend, ComputeError, PrepareError, PreparedJob, Stopped, Watch};
use crate::telemetry::{Computed, Failure, WorkerMetrics};

/// Tasks that may wait; more means that coordinator and worker no longer understand each other.
const TASKS: usize = 64;

/// How long a worker that ends waits for the shard in hand.
const FINISH: Duration = Duration::from_secs(2);

/// The executor of a worker process.
pub(super) struct Executor {
    tasks: mpsc::Sender<Task>,
    newest: Arc<Newest>,
    /// Is dropped with the thread's work.
    ended: oneshot::Receiver<()>,
}

/// What a session needs of the executor.
#[derive(Clone)]
pub(super) struct ExecutorHandle {
    pub(super) tasks: mpsc::Sender<Task>,
    pub(super) newest: Arc<Newest>,
}

impl Executor {
    /// Starts the thread; transfers run on `runtime`.
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        runtime: Handle,
        metrics: WorkerMetrics,
    ) -> Result<Self, WorkerError> {
        let (tasks, mut queue) = mpsc::channel(TASKS);
        let (working, ended) = oneshot::channel();
        let newest = Arc::new(Newest::default());
        let mut thread = Thread { backend, runtime, newest: Arc::clone(&newest), loaded: None, metrics };
        std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                while let Some(task) = queue.blocking_recv() {
                    thread.carry_out(task);
                }
                drop(thread);
                drop(working);
            })
            .map_err(|error| WorkerError::System(error.to_string()))?;
        Ok(Self { tasks, newest, ended })
    }

    /// Ends the thread, and waits a moment until it has let go of what it computes on: devices want to be left in order.
    pub(super) async fn finish(self) {
        self.newest.overtake();
        drop(self.tasks);
        let _ = tokio::time::timeout(FINISH, self.ended).await;
    }

    pub(super) fn handle(&self) -> ExecutorHandle {
        ExecutorHandle { tasks: self.tasks.clone(), newest: Arc::clone(&self.newest) }
    }
}

/// A job in memory.
struct Loaded {
    id: JobId,
    /// Its encoded specification: the same job prepared again need not be loaded again.
    spec: Vec<u8>,
    precision: Precision,
    job: Box<dyn PreparedJob>,
    /// The version of the weights that it holds, and the session that they came in.
    weights: Option<(lookbehind_common::ids::Fence, u64)>,
}

struct Thread {
    backend: Arc<dyn Backend>,
    runtime: Handle,
    newest: Arc<Newest>,
    loaded: Option<Loaded>,
    metrics: WorkerMetrics,
}

impl Thread {
    fn carry_out(&mut self, task: Task) {
        match task {
            Task::Prepare(context, job, spec) => self.prepare(&context, &job, &spec),
            Task::SendInitialState(context, job) => self.send_initial_state(&context, &job),
            Task::Compute(context, assignment) => self.compute(&context, &assignment),
            Task::Release(job) => {
                if self.loaded.as_ref().is_some_and(|loaded| loaded.id == job) {
                    self.loaded = None;
                }
            }
        }
    }

    fn prepare(&mut self, context: &Context, id: &JobId, spec: &v1::JobSpec) {
        use v1::session_request::Message;
        let error = match self.load(id, spec) {
            Ok(prepared) => return say(context, Message::Prepared(prepared)),
            Err(error) => error,
        };
        self.metrics.failed(Failure::Prepare);
        let failure = match error {
            PrepareError::Job(_) => v1::PrepareFailure::Job,
            PrepareError::Worker(_) => v1::PrepareFailure::Worker,
            PrepareError::DeviceLost(_) => v1::PrepareFailure::Device,
        };
        let (job_id, reason) = (id.to_string(), error.to_string());
        tracing::warn!(job = job_id, reason, "job could not be loaded");
        say(context, Message::PrepareFailed(v1::PrepareFailed { job_id, failure: failure.into(), reason }));
        if let PrepareError::DeviceLost(reason) = error {
            device_lost(context, reason);
        }
    }

    fn load(&mut self, id: &JobId, spec: &v1::JobSpec) -> Result<v1::Prepared, PrepareError> {
        let encoded = spec.encode_to_vec();
        let known = self.loaded.as_ref().is_some_and(|loaded| loaded.id == *id && loaded.spec == encoded);
        if !known {
            self.loaded = None;
            let in_spec = |error: lookbehind_common::job::JobError| PrepareError::Job(error.to_string());
            let checked: JobSpec =
                wire::from_proto(spec).and_then(|file| file.validate()).map_err(in_spec)?;
            let job = self.backend.prepare(&checked)?;
            let precision = checked.train.precision;
            self.loaded = Some(Loaded { id: id.clone(), spec: encoded, precision, job, weights: None });
        }
        let loaded = self.loaded.as_mut().ok_or_else(|| PrepareError::Worker("nothing is loaded".into()))?;
        loaded.weights = None;
        Ok(v1::Prepared {
            job_id: id.to_string(),
            description: Some(loaded.job.description().into()),
            probe_digest: loaded.job.probe().0.to_vec().into(),
            class_description: self.backend.class_description(loaded.precision),
        })
    }

    fn send_initial_state(&mut self, context: &Context, id: &JobId) {
        let Some(loaded) = self.loaded.as_ref().filter(|loaded| loaded.id == *id) else { return };
        let refused = match loaded.job.initial_state() {
            Ok((parameters, statistics)) => {
                let upload = context.transfers.upload_initial_state(id, parameters, statistics);
                match self.runtime.block_on(upload) {
                    Ok(()) => return,
                    Err(status) => match status.code() {
                        // The job has its weights from another worker, or no longer wants any.
                        Code::FailedPrecondition => return tracing::debug!(job = %id, %status, "not wanted"),
                        Code::InvalidArgument => status.message().to_owned(),
                        _ => {
                            self.metrics.failed(Failure::Upload);
                            let broken = Says::Broken(format!("initial weights: {status}"));
                            let _ = context.says.blocking_send(broken);
                            return;
                        }
                    },
                }
            }
            Err(error) => error.to_string(),
        };
        self.metrics.failed(Failure::Prepare);
        let failure = v1::PrepareFailure::Worker.into();
        let reason = format!("initial weights: {refused}");
        let failed = v1::PrepareFailed { job_id: id.to_string(), failure, reason };
        say(context, v1::session_request::Message::PrepareFailed(failed));
    }

    fn compute(&mut self, context: &Context, assignment: &Assignment) {
        if !self.newest.is(assignment.number) {
            return;
        }
        if !self.fetch_weights(context, assignment) {
            return;
        }
        let Some(loaded) = self.loaded.as_mut() else { return };
        let watch: Arc<dyn Watch> = Arc::new(Waiting {
            newest: Arc::clone(&self.newest),
            transfers: context.transfers.clone(),
            number: assignment.number,
        });
        for node in &assignment.nodes {
            let (begun, waited) = (Instant::now(), loaded.job.waited_for_data());
            match loaded.job.segment(&assignment.work, *node, &watch) {
                Ok(contribution) => {
                    let data_seconds = (loaded.job.waited_for_data() - waited).as_secs_f64();
                    let compute_seconds = (begun.elapsed().as_secs_f64() - data_seconds).max(0.0);
                    tracing::debug!(job = %assignment.id.job, compute_seconds, data_seconds, "node computed");
                    let (kind, shards, samples) =
                        (assignment.work.kind, node.len(), contribution.sums.samples);
                    self.metrics.computed(Computed { kind, shards, samples, compute_seconds, data_seconds });
                    let work = assignment.id.clone();
                    let partial = Partial { work, node: *node, contribution, compute_seconds, data_seconds };
                    if context.uploads.blocking_send(partial).is_err() {
                        return;
                    }
                }
                Err(Stopped::Overtaken) => return,
                Err(Stopped::Failed(error)) => {
                    self.metrics.failed(Failure::Work);
                    say(context, work_failed(assignment, *node, error.to_string()));
                    if let ComputeError::DeviceLost(reason) = error {
                        return device_lost(context, reason);
                    }
                }
            }
        }
    }

    /// Makes sure that the job holds the assignment's weights; `false` if there is nothing to compute.
    fn fetch_weights(&mut self, context: &Context, assignment: &Assignment) -> bool {
        let Some(loaded) = self.loaded.as_mut().filter(|loaded| loaded.id == assignment.id.job) else {
            return false;
        };
        let wanted = (context.transfers.fence().clone(), assignment.weights_version);
        if loaded.weights.as_ref() == Some(&wanted) {
            return true;
        }
        loaded.weights = None;
        let layout = &loaded.job.description().layout;
        let lengths = (layout.parameters(), layout.statistics());
        let download = context.transfers.download(&assignment.id.job, wanted.1, lengths);
        match self.runtime.block_on(download) {
            Ok(Some((parameters, statistics))) => match loaded.job.load(&parameters, &statistics) {
                Ok(()) => {
                    loaded.weights = Some(wanted);
                    true
                }
                Err(ComputeError::DeviceLost(reason)) => {
                    device_lost(context, reason);
                    false
                }
                Err(ComputeError::Device(reason)) => {
                    self.metrics.failed(Failure::Work);
                    for node in &assignment.nodes {
                        say(context, work_failed(assignment, *node, format!("weights: {reason}")));
                    }
                    false
                }
                Err(error) => {
                    let _ = context.says.blocking_send(Says::Broken(error.to_string()));
                    false
                }
            },
            Ok(None) => false,
            Err(status) => {
                let _ = context.says.blocking_send(Says::Broken(format!("weights: {status}")));
                false
            }
        }
    }
}

/// Whoever waits for an assignment.
struct Waiting {
    newest: Arc<Newest>,
    transfers: Transfers,
    number: u64,
}

impl Watch for Waiting {
    fn advance(&self) {
        self.transfers.advance();
    }

    fn is_overtaken(&self) -> bool {
        !self.newest.is(self.number)
    }
}

fn work_failed(assignment: &Assignment, node: Node, reason: String) -> v1::session_request::Message {
    let (work, node) = (Some((&assignment.id).into()), Some(node.into()));
    v1::session_request::Message::WorkFailed(v1::WorkFailed { work, node, reason })
}

/// Ends the process: what it computes on is lost to it.
fn device_lost(context: &Context, reason: String) {
    let _ = context.says.blocking_send(Says::DeviceLost(reason));
}

fn say(context: &Context, message: v1::session_request::Message) {
    // Nobody listens any more when the session is over.
    let _ = context.says.blocking_send(Says::Message(message));
}
