//! The connection to a coordinator. Calls are methods, and failures are [`CliError`]s that name the call.

use std::time::Duration;

use futures_util::stream;
use lookbehind_common::job::{NamedCheckpoint, WhichCheckpoint};
use lookbehind_identity::{Access, Calls, ConnectError, Folder, Refusal};
use lookbehind_proto::transfer::{self, MAX_MESSAGE_BYTES, Piece};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_client::JobServiceClient;
use tonic::{Code, Response, Status, Streaming};

use crate::args::Remote;
use crate::error::CliError;
use crate::job::InitialWeights;

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time for a unary call.
const CALL: Duration = Duration::from_secs(30);
/// Interval between keep-alive pings, and how long their answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How often job creation is attempted if the connection is lost before the answer, or the coordinator cannot answer now. The request identity ensures that
/// only one job is created.
const CREATE_ATTEMPTS: u32 = 4;
/// Jobs per page. Pages are small because each job carries its specification.
const PAGE: u32 = 100;

/// A connection to a coordinator. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    service: JobServiceClient<Calls>,
    url: String,
}

impl Client {
    /// Connects in plain text.
    ///
    /// # Errors
    /// If the address is invalid, or no coordinator answers there.
    pub async fn connect(url: &str) -> Result<Self, CliError> {
        Self::open(url, Access::new(url, None)?).await
    }

    /// Connects to the coordinator of the command line, with the credentials given there.
    ///
    /// # Errors
    /// If the address or the credentials are invalid, no coordinator answers, or its certificate is not trusted.
    pub async fn to(remote: &Remote) -> Result<Self, CliError> {
        let folder = remote.credentials.clone().map(Folder::new);
        Self::open(&remote.url, Access::new(&remote.url, folder)?).await
    }

    async fn open(url: &str, access: Access) -> Result<Self, CliError> {
        access.check()?;
        let endpoint = access
            .endpoint()
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let calls = access.connect(&endpoint).await.map_err(|error| match error {
            ConnectError::Credentials(error) => CliError::Credentials(error),
            ConnectError::Transport(error) => no_connection(url, &error),
        })?;
        let service = JobServiceClient::new(calls).max_decoding_message_size(MAX_DECODED);
        Ok(Self { service, url: url.to_owned() })
    }

    /// URL of the coordinator.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Queues a job. A second call with the same `request_id` and the same job returns the first job, so that the call
    /// can be repeated safely after a lost connection.
    ///
    /// # Errors
    /// If the coordinator refuses the job or cannot be reached.
    pub async fn create_job(&self, request_id: &str, spec: v1::JobSpec) -> Result<v1::Job, CliError> {
        let request = v1::CreateJobRequest { request_id: request_id.to_owned(), spec: Some(spec) };
        let mut wait = Duration::from_millis(200);
        for _ in 1..CREATE_ATTEMPTS {
            match in_time(self.service.clone().create_job(request.clone())).await {
                Err(status) if is_transient(&status) && Refusal::of(&status).is_none() => {
                    tokio::time::sleep(wait).await
                }
                answer => return self.job(answer.map(|r| r.job), "submit"),
            }
            wait *= 4;
        }
        let answer = in_time(self.service.clone().create_job(request)).await;
        self.job(answer.map(|r| r.job), "submit")
    }

    /// One job.
    ///
    /// # Errors
    /// If the job is unknown, or there is no answer.
    pub async fn job_by_id(&self, id: &str) -> Result<v1::Job, CliError> {
        let request = v1::GetJobRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().get_job(request)).await;
        self.job(answer.map(|r| r.job), "job")
    }

    /// Cancels a job and returns it.
    ///
    /// # Errors
    /// If the job is unknown or already over, or there is no answer.
    pub async fn cancel(&self, id: &str) -> Result<v1::Job, CliError> {
        let request = v1::CancelJobRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().cancel_job(request)).await;
        self.job(answer.map(|r| r.job), "cancel")
    }

    /// Pauses a job and returns it.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    pub async fn pause(&self, id: &str) -> Result<v1::Job, CliError> {
        let request = v1::PauseJobRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().pause_job(request)).await;
        self.job(answer.map(|r| r.job), "pause")
    }

    /// Queues a paused job again and returns it. With `accept_class`, it may continue in another compute class.
    ///
    /// # Errors
    /// If the job is unknown or not paused, or there is no answer.
    pub async fn resume(&self, id: &str, accept_class: bool) -> Result<v1::Job, CliError> {
        let request = v1::ResumeJobRequest { job_id: id.to_owned(), accept_class };
        let answer = in_time(self.service.clone().resume_job(request)).await;
        self.job(answer.map(|r| r.job), "resume")
    }

    /// Queues a failed or cancelled job again and returns it.
    ///
    /// # Errors
    /// If the job is unknown or has succeeded, or there is no answer.
    pub async fn retry(&self, id: &str) -> Result<v1::Job, CliError> {
        let request = v1::RetryJobRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().retry_job(request)).await;
        self.job(answer.map(|r| r.job), "retry")
    }

    /// The checkpoints of a job, newest first.
    ///
    /// # Errors
    /// If the job is unknown, or there is no answer.
    pub async fn checkpoints(&self, id: &str) -> Result<Vec<v1::Checkpoint>, CliError> {
        let request = v1::ListCheckpointsRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().list_checkpoints(request)).await;
        Ok(answer.map_err(|status| self.error("checkpoints", &status))?.checkpoints)
    }

    /// Deletes a job that has ended.
    ///
    /// # Errors
    /// If the job is unknown or has not ended, or there is no answer.
    pub async fn delete(&self, id: &str) -> Result<(), CliError> {
        let request = v1::DeleteJobRequest { job_id: id.to_owned() };
        let answer = in_time(self.service.clone().delete_job(request)).await;
        answer.map(drop).map_err(|status| self.error("delete", &status))
    }

    /// The first of the jobs that `wanted` describes, at most `limit`, and whether there are more.
    ///
    /// # Errors
    /// If there is no answer, or the coordinator refuses.
    pub async fn jobs(
        &self,
        wanted: v1::ListJobsRequest,
        limit: usize,
    ) -> Result<(Vec<v1::Job>, bool), CliError> {
        let mut jobs = Vec::new();
        let mut request = wanted;
        loop {
            request.page_size = (limit - jobs.len()).min(PAGE as usize) as u32;
            let answer = in_time(self.service.clone().list_jobs(request.clone())).await;
            let page = answer.map_err(|status| self.error("jobs", &status))?;
            jobs.extend(page.jobs);
            // A page may be empty although more follow. One that leads back to itself would never end.
            let is_last = page.next_page_token.is_empty() || page.next_page_token == request.page_token;
            if jobs.len() >= limit || is_last {
                let has_more = jobs.len() > limit || !is_last;
                jobs.truncate(limit);
                return Ok((jobs, has_more));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The workers that are registered now.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn workers(&self) -> Result<Vec<v1::Worker>, CliError> {
        let answer = in_time(self.service.clone().list_workers(v1::ListWorkersRequest {})).await;
        Ok(answer.map_err(|status| self.error("workers", &status))?.workers)
    }

    /// Uploads a file of initial weights.
    ///
    /// # Errors
    /// If the coordinator refuses the file, reports another digest than expected, or the connection is lost.
    pub async fn upload(&self, init: &InitialWeights) -> Result<(), CliError> {
        use v1::upload_initial_weights_request::Part;
        let what = init.path.display().to_string();
        let header = Part::Header(v1::FileHeader { length: init.bytes.len() as u64 });
        let pieces = transfer::Sender::new([init.bytes.clone()], &[]).map(|piece| match piece {
            Piece::Chunk(chunk) => Part::Chunk(chunk),
            Piece::Trailer(trailer) => Part::Trailer(trailer),
        });
        let parts = std::iter::once(header).chain(pieces);
        let requests = stream::iter(parts.map(|part| v1::UploadInitialWeightsRequest { part: Some(part) }));
        let answer = self.service.clone().upload_initial_weights(requests).await;
        let stored = answer.map_err(|status| self.error(&what, &status))?.into_inner().digest;
        if stored != init.digest.to_string() {
            let message = format!("the coordinator stored {stored}, expected {}", init.digest);
            return Err(CliError::Refused { what, message });
        }
        Ok(())
    }

    /// Opens the stream of a checkpoint's model file; without an outer step, of the newest checkpoint.
    ///
    /// # Errors
    /// If there is no such job or checkpoint, or no answer.
    pub async fn download(
        &self,
        id: &str,
        which: Option<WhichCheckpoint>,
    ) -> Result<Streaming<v1::DownloadCheckpointResponse>, CliError> {
        let (outer_step, best) = match which {
            None => (None, false),
            Some(WhichCheckpoint::OuterStep(step)) => (Some(step), false),
            Some(WhichCheckpoint::Named(NamedCheckpoint::Best)) => (None, true),
        };
        let request = v1::DownloadCheckpointRequest { job_id: id.to_owned(), outer_step, best };
        let answer = in_time(self.service.clone().download_checkpoint(request)).await;
        answer.map_err(|status| self.error("fetch", &status))
    }

    /// Opens the stream of a job's events.
    ///
    /// # Errors
    /// The unchanged status, so that [`crate::watch`] can distinguish a lost connection from a refusal.
    pub async fn events(
        &self,
        request: v1::WatchJobRequest,
    ) -> Result<Streaming<v1::WatchJobResponse>, Status> {
        in_time(self.service.clone().watch_job(request)).await
    }

    /// The error for a failed call. The message of the coordinator is kept, because it names the job and the value.
    pub fn error(&self, what: &str, status: &Status) -> CliError {
        if is_connection(status) {
            return no_connection(&self.url, status);
        }
        let message = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        match status.code() {
            Code::Unavailable => CliError::NotNow { what: what.to_owned(), message },
            _ => CliError::Refused { what: what.to_owned(), message },
        }
    }

    fn job(&self, answer: Result<Option<v1::Job>, Status>, what: &str) -> Result<v1::Job, CliError> {
        answer
            .map_err(|status| self.error(what, &status))?
            .ok_or_else(|| CliError::Malformed { what: what.to_owned(), missing: "the job" })
    }
}

/// Largest response: a page of jobs, or one chunk.
const MAX_DECODED: usize = 4 * MAX_MESSAGE_BYTES;

/// Whether a status reports a failed connection instead of an answer of the coordinator.
pub fn is_connection(status: &Status) -> bool {
    // Only errors of this side, such as those of the transport, have a source. A status that the coordinator sent has none.
    std::error::Error::source(status).is_some()
}

/// Whether the same call may succeed a little later: the connection failed, or the coordinator cannot answer now.
fn is_transient(status: &Status) -> bool {
    is_connection(status) || status.code() == Code::Unavailable
}

/// The coordinator did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", CALL.as_secs())]
struct NoAnswer;

/// The error for a failed connection: nothing answers, something else than a coordinator, or one side does not trust the
/// other's certificate.
fn no_connection(url: &str, error: &(dyn std::error::Error + 'static)) -> CliError {
    let url = url.to_owned();
    match Refusal::of(error) {
        Some(Refusal::Protocol(mismatch)) => CliError::NoCoordinator { url, mismatch },
        Some(refusal) => CliError::NotTrusted { url, reason: refusal.to_string() },
        None => CliError::Unreachable { url, reason: innermost(error) },
    }
}

/// Waits for a response, or for the beginning of a stream, at most [`CALL`].
async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::from_error(Box::new(NoAnswer))),
    }
}

/// The last cause in a chain of errors, which is usually the message of the operating system.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
