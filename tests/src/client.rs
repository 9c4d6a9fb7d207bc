//! What a test asks of a coordinator, and what it saw while watching a job.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lookbehind_common::job::JobFile;
use lookbehind_identity::{Access, Authorize};
use lookbehind_proto::transfer::{Piece, Sender};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use lookbehind_proto::v1::watch_job_response::Event;
use lookbehind_proto::wire;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::reference::Tensors;

/// How long anything may take before a test gives up. It only stops tests that would hang, and measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for something that must happen.
///
/// # Panics
/// If it does not happen within [`PATIENCE`].
pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, happens).await;
    waited.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// A user of a coordinator.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Calls,
}

/// A connection that adds the credentials to each call.
pub type Calls = InterceptedService<Channel, Authorize>;

impl Client {
    /// Connects to a coordinator, which need not be listening yet.
    ///
    /// # Panics
    /// If the address is invalid.
    pub fn new(url: &str) -> Self {
        Self::of(&Access::new(url, None).expect("an address"))
    }

    /// Connects to the address and with the identity of `access`; the coordinator need not be listening yet.
    ///
    /// # Panics
    /// If the credentials cannot be read.
    pub fn of(access: &Access) -> Self {
        Self::with_endpoint(access, access.endpoint())
    }

    /// As [`Self::of`], with other settings of the connection.
    ///
    /// # Panics
    /// If the credentials cannot be read.
    pub fn with_endpoint(access: &Access, endpoint: Endpoint) -> Self {
        let channel = access.connect_lazy(&endpoint);
        Self { channel: InterceptedService::new(channel, access.authorize().expect("credentials")) }
    }

    /// The generated client, for calls that tests construct themselves.
    pub fn jobs(&self) -> JobServiceClient<Calls> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// The underlying connection.
    pub fn channel(&self) -> Calls {
        self.channel.clone()
    }

    /// Submits a job under a new request_id.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn create(&self, spec: v1::JobSpec) -> Result<v1::Job, Status> {
        static REQUESTS: AtomicU64 = AtomicU64::new(0);
        let request_id = format!("test-{}", REQUESTS.fetch_add(1, Ordering::Relaxed));
        let request = v1::CreateJobRequest { request_id, spec: Some(spec) };
        let created = self.jobs().create_job(request).await?.into_inner();
        Ok(created.job.expect("the created job"))
    }

    /// Queues a job and returns its id.
    ///
    /// # Panics
    /// If the coordinator refuses it.
    pub async fn submit(&self, job: &JobFile) -> String {
        self.create(wire::to_proto(job)).await.unwrap_or_else(|status| panic!("{}: {status}", job.name)).id
    }

    /// Stores a file of initial weights and returns its digest.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn upload(&self, bytes: impl Into<Bytes>) -> Result<String, Status> {
        use v1::upload_initial_weights_request::Part;
        let bytes = bytes.into();
        let header = Part::Header(v1::FileHeader { length: bytes.len() as u64 });
        let pieces = Sender::new([bytes], &[]).map(|piece| match piece {
            Piece::Chunk(chunk) => Part::Chunk(chunk),
            Piece::Trailer(trailer) => Part::Trailer(trailer),
        });
        self.upload_parts(std::iter::once(header).chain(pieces).collect()).await
    }

    /// Sends the parts of a file unchanged.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn upload_parts(
        &self,
        parts: Vec<v1::upload_initial_weights_request::Part>,
    ) -> Result<String, Status> {
        let messages = parts.into_iter().map(|part| v1::UploadInitialWeightsRequest { part: Some(part) });
        let stored = self.jobs().upload_initial_weights(tokio_stream::iter(messages)).await?;
        Ok(stored.into_inner().digest)
    }

    /// The current state of a job.
    ///
    /// # Panics
    /// If the coordinator does not know it.
    pub async fn job(&self, id: &str) -> v1::Job {
        let request = v1::GetJobRequest { job_id: id.to_owned() };
        self.jobs().get_job(request).await.expect("the job").into_inner().job.expect("the job")
    }

    /// The registered workers.
    ///
    /// # Panics
    /// If the coordinator does not answer.
    pub async fn workers(&self) -> Vec<v1::Worker> {
        let answer = self.jobs().list_workers(v1::ListWorkersRequest {}).await;
        answer.expect("the workers").into_inner().workers
    }

    /// Watches a job from its first event.
    pub async fn watch(&self, id: &str) -> Watcher {
        self.watch_after(id, 0, 0).await
    }

    /// Watches a job from after a cursor.
    ///
    /// # Panics
    /// If the coordinator does not know the job.
    pub async fn watch_after(&self, id: &str, after_revision: u64, after_outer_step: u64) -> Watcher {
        let request = v1::WatchJobRequest { job_id: id.to_owned(), after_revision, after_outer_step };
        let stream = self.jobs().watch_job(request).await.expect("a watch").into_inner();
        Watcher { stream, seen: History::default() }
    }

    /// Waits until a job has ended; returns all of its events.
    pub async fn finish(&self, id: &str) -> History {
        self.watch(id).await.to_the_end().await
    }

    /// Runs a job that must succeed.
    ///
    /// # Panics
    /// If it does not succeed.
    pub async fn run(&self, job: &JobFile) -> History {
        let history = self.finish(&self.submit(job).await).await;
        assert_eq!(history.state(), v1::JobState::Succeeded, "{}: {}", job.name, history.message());
        history.check_whole();
        history
    }

    /// Runs a job that must fail; returns the message of its failure.
    ///
    /// # Panics
    /// If it does not fail.
    pub async fn run_to_failure(&self, job: &JobFile) -> String {
        let history = self.finish(&self.submit(job).await).await;
        assert_eq!(history.state(), v1::JobState::Failed, "{}: {}", job.name, history.message());
        history.message().to_owned()
    }

    /// The newest checkpoint's weights and their announced digest.
    ///
    /// # Panics
    /// If there is no checkpoint, or it arrives damaged.
    pub async fn weights(&self, id: &str) -> (Tensors, String) {
        use v1::download_checkpoint_response::Part;
        let request = v1::DownloadCheckpointRequest { job_id: id.to_owned(), outer_step: None, best: false };
        let mut stream = self.jobs().download_checkpoint(request).await.expect("a checkpoint").into_inner();
        let (mut digest, mut bytes) = (String::new(), Vec::new());
        while let Some(message) = stream.message().await.expect("a whole transfer") {
            match message.part.expect("a part") {
                Part::Header(header) => digest = header.digest,
                Part::Chunk(chunk) => bytes.extend_from_slice(&chunk.data),
                Part::Trailer(_) => {}
            }
        }
        (crate::files::tensors(&bytes), digest)
    }
}

/// The events that a watcher has seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Changes of the job, in order.
    pub notices: Vec<v1::JobNotice>,
    /// Outer steps, in order.
    pub steps: Vec<v1::OuterStepMetrics>,
}

impl History {
    /// The last state of the job that was seen.
    pub fn state(&self) -> v1::JobState {
        self.notices.last().map_or(v1::JobState::Unspecified, v1::JobNotice::state)
    }

    /// The message of the last notice; empty if there is none.
    pub fn message(&self) -> &str {
        self.notices.last().map_or("", |notice| notice.message.as_str())
    }

    /// Digest of the final weights.
    ///
    /// # Panics
    /// If the job did not succeed.
    pub fn digest(&self) -> &str {
        let digest = self.notices.last().map_or("", |notice| notice.digest.as_str());
        assert!(!digest.is_empty(), "no final weights: {}", self.message());
        digest
    }

    /// Checks that a job that succeeded was seen from its first to its last outer step, each once, and ended with the
    /// weights of the last one.
    ///
    /// # Panics
    /// If any of this does not hold.
    pub fn check_whole(&self) {
        let last = self.notices.last().expect("a notice");
        assert_eq!(self.step_numbers(), (1..=last.total_outer_steps).collect::<Vec<u64>>());
        assert_eq!(last.outer_step, last.total_outer_steps);
        assert_eq!(self.steps.last().expect("a step").digest, last.digest, "not the last step's weights");
        let mut revisions = self.notices.windows(2);
        assert!(revisions.all(|pair| pair[0].revision < pair[1].revision), "revisions do not rise");
    }

    /// Most workers that took part in one outer step.
    pub fn most_workers(&self) -> u32 {
        self.steps.iter().map(|step| step.workers).max().unwrap_or(0)
    }

    /// Number of gradients of each outer step.
    pub fn gradients(&self) -> Vec<u32> {
        self.steps.iter().map(|step| step.gradients).collect()
    }

    /// Whether some notice contains all of `words`.
    pub fn said(&self, words: &[&str]) -> bool {
        self.notices.iter().any(|notice| words.iter().all(|word| notice.message.contains(word)))
    }

    /// Numbers of the outer steps.
    pub fn step_numbers(&self) -> Vec<u64> {
        self.steps.iter().map(|step| step.outer_step).collect()
    }
}

/// A stream of one job's events.
pub struct Watcher {
    stream: Streaming<v1::WatchJobResponse>,
    seen: History,
}

impl Watcher {
    /// Receives one event; `false` at the end.
    async fn take(&mut self) -> bool {
        match within("an event", self.stream.message()).await.expect("the watch goes on") {
            Some(message) => match message.event.expect("an event") {
                Event::Notice(notice) => self.seen.notices.push(notice),
                Event::Step(step) => self.seen.steps.push(step),
            },
            None => return false,
        }
        true
    }

    /// Receives events until those seen so far fulfil a condition.
    ///
    /// # Panics
    /// If the job ends before that.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&History) -> bool) -> &History {
        while !holds(&self.seen) {
            assert!(self.take().await, "{what}: the job is over: {}", self.seen.message());
        }
        &self.seen
    }

    /// Receives events until the job has finished outer step `outer_step`.
    pub async fn until_step(&mut self, outer_step: u64) -> &History {
        let reached = |seen: &History| seen.steps.last().is_some_and(|step| step.outer_step >= outer_step);
        self.until(&format!("outer step {outer_step}"), reached).await
    }

    /// Receives events until a notice contains all of `words`.
    pub async fn until_said(&mut self, words: &[&str]) -> &History {
        self.until(&format!("a notice with {words:?}"), |seen| seen.said(words)).await
    }

    /// Receives events until the job is in a state.
    pub async fn until_state(&mut self, state: v1::JobState) -> &History {
        self.until(&format!("{state:?}"), |seen| seen.state() == state).await
    }

    /// Receives all remaining events; returns everything seen.
    pub async fn to_the_end(mut self) -> History {
        while self.take().await {}
        self.seen
    }
}
