//! Test helpers: messages, and a scripted coordinator.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, BoxStream, StreamExt};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_server::{JobService, JobServiceServer};
use lookbehind_proto::v1::watch_job_response::Event;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::job::JobSource;

/// An outer step whose values follow from its number.
pub(crate) fn step(outer_step: u64) -> v1::OuterStepMetrics {
    v1::OuterStepMetrics {
        outer_step,
        epoch: (outer_step - 1) / 2,
        loss: 1.0 / outer_step as f64,
        last_loss: 2.0 / outer_step as f64,
        accuracy: 1.0 - 0.5 / outer_step as f64,
        gradient_norm: Some(0.25),
        mean_shard_gradient_norm: None,
        learning_rate: 0.1,
        alpha: 0.5,
        alpha_min: None,
        alpha_max: None,
        samples: 100,
        gradients: 3,
        time: Some(v1::TimeSplit {
            total: 1.0,
            compute: 0.5,
            communication: 0.25,
            optimizer: 0.125,
            waiting: 0.0625,
            data: 0.0625,
        }),
        validation: None,
        clean: None,
        memorised: None,
        test: None,
        digest: format!("digest-{outer_step}"),
        workers: 2,
        exchanged: 0,
        first_sample: 100 * (outer_step - 1),
        compute_class: "class".to_owned(),
    }
}

pub(crate) fn notice(revision: u64, state: v1::JobState) -> v1::JobNotice {
    v1::JobNotice { revision, state: state.into(), message: "why".to_owned(), ..v1::JobNotice::default() }
}

pub(crate) fn job(state: v1::JobState) -> v1::Job {
    v1::Job { id: "j00000000".to_owned(), state: state.into(), total_outer_steps: 4, ..v1::Job::default() }
}

pub(crate) fn event(event: Event) -> Result<v1::WatchJobResponse, Status> {
    Ok(v1::WatchJobResponse { event: Some(event) })
}

/// A job of 8 shards from its job file.
pub(crate) fn source() -> JobSource {
    let text = r#"
name = "digits"
[model]
kind = "mlp"
hidden = [16]
[data]
kind = "digits"
[train]
epochs = 20
batch_size = 128
shards = 8
[optimizer]
method = "lookbehind"
k = 2
"#;
    JobSource::parse("job.toml".to_owned(), text.to_owned(), ".".into(), None).unwrap()
}

/// Captures the standard output of a test.
#[derive(Clone, Default)]
pub(crate) struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap();
        std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl std::io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Answers of a fake coordinator, and the calls that it received.
#[derive(Default)]
pub(crate) struct Script {
    /// One list per call of WatchJob. The stream ends normally after the list, unless it contains an error.
    pub(crate) watch: VecDeque<Vec<Result<v1::WatchJobResponse, Status>>>,
    /// Response of GetJob.
    pub(crate) job: v1::Job,
    /// Parts that DownloadCheckpoint sends.
    pub(crate) download: Vec<v1::download_checkpoint_response::Part>,
    /// Number of calls of CreateJob that fail like a lost connection.
    pub(crate) create_failures: usize,
    /// Number of jobs that ListJobs has.
    pub(crate) listed: u64,
    /// Number of calls of DeleteJob that succeed; the others find no job.
    pub(crate) deletable: usize,
    /// Cursors of the calls of WatchJob.
    pub(crate) cursors: Vec<(u64, u64)>,
    /// Request identities of the calls of CreateJob.
    pub(crate) created: Vec<String>,
    /// Bytes that UploadInitialWeights received.
    pub(crate) uploaded: Vec<u8>,
}

/// A coordinator on a loopback port with its own threads. Dropping it closes all connections.
pub(crate) struct Fake {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), script)
    }

    pub(crate) fn on(address: SocketAddr, script: Script) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script));
        let service = JobServiceServer::new(Scripted(Arc::clone(&script)));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        Self { script, address, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn heard<T>(&self, ask: impl FnOnce(&Script) -> T) -> T {
        ask(&self.script.lock().unwrap())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

struct Scripted(Arc<Mutex<Script>>);

fn unscripted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl JobService for Scripted {
    type WatchJobStream = BoxStream<'static, Result<v1::WatchJobResponse, Status>>;
    type DownloadCheckpointStream = BoxStream<'static, Result<v1::DownloadCheckpointResponse, Status>>;

    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let mut script = self.0.lock().unwrap();
        let request = request.into_inner();
        script.created.push(request.request_id);
        if script.create_failures > 0 {
            script.create_failures -= 1;
            return Err(Status::unavailable("gone"));
        }
        let job = v1::Job { spec: request.spec, ..job(v1::JobState::Queued) };
        Ok(Response::new(v1::CreateJobResponse { job: Some(job) }))
    }

    async fn get_job(&self, _: Request<v1::GetJobRequest>) -> Result<Response<v1::GetJobResponse>, Status> {
        Ok(Response::new(v1::GetJobResponse { job: Some(self.0.lock().unwrap().job.clone()) }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let v1::ListJobsRequest { page_size, page_token, .. } = request.into_inner();
        let (first, all) = (page_token.parse().unwrap_or(0), self.0.lock().unwrap().listed);
        let end = all.min(first + u64::from(page_size));
        let jobs = (first..end).map(|n| v1::Job { id: format!("j{n:08}"), ..v1::Job::default() }).collect();
        let next_page_token = if end < all { end.to_string() } else { String::new() };
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        Err(Status::not_found(format!("there is no job {}", request.into_inner().job_id)))
    }

    async fn pause_job(
        &self,
        _: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        Ok(Response::new(v1::PauseJobResponse { job: Some(self.0.lock().unwrap().job.clone()) }))
    }

    async fn resume_job(
        &self,
        _: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        unscripted()
    }

    async fn retry_job(
        &self,
        _: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::RetryJobResponse>, Status> {
        unscripted()
    }

    async fn list_checkpoints(
        &self,
        _: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        unscripted()
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let mut script = self.0.lock().unwrap();
        match script.deletable.checked_sub(1) {
            Some(left) => {
                script.deletable = left;
                Ok(Response::new(v1::DeleteJobResponse {}))
            }
            None => Err(Status::not_found(format!("job {}: not found", request.into_inner().job_id))),
        }
    }

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let mut script = self.0.lock().unwrap();
        let request = request.into_inner();
        script.cursors.push((request.after_revision, request.after_outer_step));
        Ok(Response::new(match script.watch.pop_front() {
            Some(events) => stream::iter(events).boxed(),
            None => stream::pending().boxed(),
        }))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        unscripted()
    }

    async fn upload_initial_weights(
        &self,
        request: Request<Streaming<v1::UploadInitialWeightsRequest>>,
    ) -> Result<Response<v1::UploadInitialWeightsResponse>, Status> {
        use v1::upload_initial_weights_request::Part;
        let mut requests = request.into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = requests.message().await? {
            if let Some(Part::Chunk(chunk)) = message.part {
                bytes.extend_from_slice(&chunk.data);
            }
        }
        let digest = lookbehind_common::digest::Digest::of(&bytes).to_string();
        self.0.lock().unwrap().uploaded = bytes;
        Ok(Response::new(v1::UploadInitialWeightsResponse { digest }))
    }

    async fn download_checkpoint(
        &self,
        _: Request<v1::DownloadCheckpointRequest>,
    ) -> Result<Response<Self::DownloadCheckpointStream>, Status> {
        let parts = self.0.lock().unwrap().download.clone();
        let messages = parts.into_iter().map(|part| Ok(v1::DownloadCheckpointResponse { part: Some(part) }));
        Ok(Response::new(stream::iter(messages).boxed()))
    }
}
