//! `JobService`: what users call.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::Stream;
use lookbehind_common::convert::{job_id, required};
use lookbehind_common::ids::JobId;
use lookbehind_common::proto::v1;
use lookbehind_common::proto::v1::job_service_server::JobService;
use lookbehind_common::transfer::{Piece, Receiver, Sender};
use tonic::{Request, Response, Status, Streaming};

use super::views::{self, IntoStatus};
use super::{unexpected, watch};
use crate::runtime::Shared;
use crate::state::event::{Event, JobView, Reply, UserCall};
use crate::store::checkpoint;
use crate::store::uploads::Upload;

/// Jobs in a page where the caller does not say.
const PAGE: usize = 100;
/// Most jobs in a page.
const MAX_PAGE: usize = 1000;

pub(super) struct JobServiceImpl(pub(super) Shared);

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl JobServiceImpl {
    async fn ask(&self, call: UserCall) -> Result<Reply, Status> {
        Ok(self.0.mailbox.ask(move |token| Event::User(token, call)).await?)
    }

    /// Asks for something that is answered with a job.
    async fn job(&self, call: UserCall) -> Result<Option<v1::Job>, Status> {
        match self.ask(call).await? {
            Reply::Job(result) => result.map(|view| Some(views::job(&view))).map_err(IntoStatus::into_status),
            _ => Err(unexpected()),
        }
    }

    async fn view(&self, id: &JobId) -> Result<JobView, Status> {
        match self.ask(UserCall::Get(id.clone())).await? {
            Reply::Job(result) => result.map_err(IntoStatus::into_status),
            _ => Err(unexpected()),
        }
    }
}

fn parse_id(text: &str) -> Result<JobId, Status> {
    job_id(text).map_err(IntoStatus::into_status)
}

#[tonic::async_trait]
impl JobService for JobServiceImpl {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let v1::CreateJobRequest { request_id, spec } = request.into_inner();
        let spec = Box::new(required(spec, "spec").map_err(IntoStatus::into_status)?);
        let id = JobId::from_entropy(getrandom::u64().map_err(|error| Status::internal(error.to_string()))?);
        let job = self.job(UserCall::Create { request_id, spec, id }).await?;
        Ok(Response::new(v1::CreateJobResponse { job }))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let job = self.job(UserCall::Get(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::GetJobResponse { job }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size as usize {
            0 => PAGE,
            size if size <= MAX_PAGE => size,
            size => {
                return Err(Status::invalid_argument(format!(
                    "page_size: expected 0 to {MAX_PAGE}, found {size}"
                )));
            }
        };
        let before = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| Status::invalid_argument("page_token is not valid"))?),
        };
        let (jobs, next) = match self.ask(UserCall::List(size, before)).await? {
            Reply::Jobs(jobs, next) => (jobs, next),
            Reply::Job(refused) => return Err(refused.map_or_else(IntoStatus::into_status, |_| unexpected())),
            _ => return Err(unexpected()),
        };
        Ok(Response::new(v1::ListJobsResponse {
            jobs: jobs.iter().map(views::job).collect(),
            next_page_token: next.map(|number| number.to_string()).unwrap_or_default(),
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let job = self.job(UserCall::Cancel(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::CancelJobResponse { job }))
    }

    async fn pause_job(
        &self,
        request: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let job = self.job(UserCall::Pause(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::PauseJobResponse { job }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let v1::ResumeJobRequest { job_id, accept_class } = request.into_inner();
        let job = self.job(UserCall::Resume(parse_id(&job_id)?, accept_class)).await?;
        Ok(Response::new(v1::ResumeJobResponse { job }))
    }

    type WatchJobStream = Outgoing<v1::WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let request = request.into_inner();
        let id = parse_id(&request.job_id)?;
        let view = self.view(&id).await?;
        let cursor = watch::Cursor { revision: request.after_revision, outer_step: request.after_outer_step };
        Ok(Response::new(Box::pin(watch::stream(self.0.clone(), &view.record, cursor))))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let Reply::Workers(workers) = self.ask(UserCall::Workers).await? else { return Err(unexpected()) };
        let workers = workers.into_iter().map(views::worker).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn upload_initial_weights(
        &self,
        request: Request<Streaming<v1::UploadInitialWeightsRequest>>,
    ) -> Result<Response<v1::UploadInitialWeightsResponse>, Status> {
        let _permit = self
            .0
            .uploads
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("uploads: too many are under way; try again"))?;
        let digest = receive_file(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::UploadInitialWeightsResponse { digest }))
    }

    type DownloadCheckpointStream = Outgoing<v1::DownloadCheckpointResponse>;

    async fn download_checkpoint(
        &self,
        request: Request<v1::DownloadCheckpointRequest>,
    ) -> Result<Response<Self::DownloadCheckpointStream>, Status> {
        let request = request.into_inner();
        let id = parse_id(&request.job_id)?;
        self.view(&id).await?;
        let folder = self.0.store.job_folder(&id);
        let read = move || -> Result<_, Status> {
            let found =
                checkpoint::model_file_of(&folder, request.outer_step).map_err(IntoStatus::into_status)?;
            let Some((manifest, path)) = found else {
                let which = request
                    .outer_step
                    .map_or("no checkpoint".into(), |step| format!("no checkpoint of outer step {step}"));
                return Err(Status::not_found(format!("job {id}: {which}")));
            };
            let bytes = std::fs::read(&path).map_err(|error| Status::internal(error.to_string()))?;
            Ok((manifest, bytes))
        };
        let (manifest, bytes) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Status::internal(error.to_string()))??;
        let header = v1::CheckpointHeader {
            length: bytes.len() as u64,
            outer_step: manifest.position.outer_step,
            digest: manifest.digest.to_string(),
        };
        Ok(Response::new(Box::pin(send_file(header, bytes.into()))))
    }
}

fn send_file(
    header: v1::CheckpointHeader,
    bytes: Bytes,
) -> impl Stream<Item = Result<v1::DownloadCheckpointResponse, Status>> {
    use v1::download_checkpoint_response::Part;
    let pieces = Sender::new([bytes], &[]).map(|piece| match piece {
        Piece::Chunk(chunk) => Part::Chunk(chunk),
        Piece::Trailer(trailer) => Part::Trailer(trailer),
    });
    let parts = std::iter::once(Part::Header(header)).chain(pieces);
    tokio_stream::iter(parts.map(|part| Ok(v1::DownloadCheckpointResponse { part: Some(part) })))
}

/// Receives a file into the uploads folder; returns its digest.
async fn receive_file(
    shared: &Shared,
    mut stream: Streaming<v1::UploadInitialWeightsRequest>,
) -> Result<String, Status> {
    use v1::upload_initial_weights_request::Part;
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Some(Part::Header(header)) = next_part(shared, &mut stream).await? else {
        return Err(Status::invalid_argument("expected the header first"));
    };
    if header.length > shared.max_upload {
        let limit = shared.max_upload;
        return Err(Status::resource_exhausted(format!(
            "length: expected at most {limit}, found {}",
            header.length
        )));
    }
    let mut receiver = Receiver::new(header.length);
    let folder = shared.store.uploads_folder();
    let mut upload =
        Upload::begin(&folder, NUMBER.fetch_add(1, Ordering::Relaxed)).map_err(IntoStatus::into_status)?;
    loop {
        match next_part(shared, &mut stream).await? {
            Some(Part::Chunk(chunk)) => {
                receiver.accept(&chunk).map_err(IntoStatus::into_status)?;
                upload.write(&chunk.data).map_err(IntoStatus::into_status)?;
            }
            Some(Part::Trailer(trailer)) => {
                receiver.finish(&trailer, &[]).map_err(IntoStatus::into_status)?;
                return upload.finish().map(String::from).map_err(IntoStatus::into_status);
            }
            _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
        }
    }
}

async fn next_part(
    shared: &Shared,
    stream: &mut Streaming<v1::UploadInitialWeightsRequest>,
) -> Result<Option<v1::upload_initial_weights_request::Part>, Status> {
    let message = super::tensor_service::in_time(shared, stream.message()).await?;
    Ok(message.and_then(|message| message.part))
}
