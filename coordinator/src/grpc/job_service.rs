//! `JobService`: the calls of users.

use std::pin::Pin;

use futures_util::Stream;
use lookbehind_common::ids::JobId;
use lookbehind_proto::convert::{job_id, required};
use lookbehind_proto::v1;
use lookbehind_proto::v1::job_service_server::JobService;
use tonic::{Request, Response, Status, Streaming};

use super::limits::UserLimits;
use super::views::{self, IntoStatus};
use super::{files, initial, listing, unexpected, uploads, watch};
use crate::runtime::Shared;
use crate::state::event::{CallError, JobView, Reply, UserCall};
use crate::state::{Caller, Submission};
use crate::store::checkpoint;

pub(super) struct JobServiceImpl {
    shared: Shared,
    limits: UserLimits,
}

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl JobServiceImpl {
    pub(super) fn new(shared: Shared) -> Self {
        let limits = UserLimits::new(shared.failure_detection);
        Self { shared, limits }
    }

    async fn ask(&self, caller: Caller, call: UserCall) -> Result<Reply, Status> {
        Ok(self.shared.mailbox.call(caller, call).await?)
    }

    /// Makes a call whose reply is a job.
    async fn job(&self, caller: Caller, call: UserCall) -> Result<Option<v1::Job>, Status> {
        match self.ask(caller, call).await? {
            Reply::Job(result) => result.map(|view| Some(views::job(&view))).map_err(IntoStatus::into_status),
            _ => Err(unexpected()),
        }
    }

    async fn view(&self, caller: Caller, id: &JobId) -> Result<JobView, Status> {
        match self.ask(caller, UserCall::Get(id.clone())).await? {
            Reply::Job(result) => result.map_err(IntoStatus::into_status),
            _ => Err(unexpected()),
        }
    }
}

/// The caller of a request, as the gate attached it.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get()
        .cloned()
        .ok_or_else(|| Status::internal("the caller of the request is unknown"))
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
        let caller = caller(&request)?;
        let v1::CreateJobRequest { request_id, spec } = request.into_inner();
        let spec = required(spec, "spec").map_err(IntoStatus::into_status)?;
        self.limits.pace_specification(&caller, &spec).await?;
        let initial_checkpoint = initial::checkpoint(&self.shared, &caller, &spec).await?;
        let submission = tokio::task::spawn_blocking(move || Submission::read(&spec)).await;
        let submission = submission.map_err(|error| Status::internal(error.to_string()))?;
        let submission = Box::new(submission.map_err(|error| CallError::from(error).into_status())?);
        let entropy = getrandom::u64().map_err(|error| Status::internal(error.to_string()))?;
        let job = self
            .job(caller, UserCall::Create { request_id, submission, initial_checkpoint, entropy })
            .await?;
        Ok(Response::new(v1::CreateJobResponse { job }))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let caller = caller(&request)?;
        let job = self.job(caller, UserCall::Get(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::GetJobResponse { job }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let caller = caller(&request)?;
        let mut query = listing::query(&request.into_inner()).map_err(IntoStatus::into_status)?;
        query.specs = true;
        let (jobs, next) = match self.ask(caller, UserCall::List(query)).await? {
            Reply::Jobs(jobs, next) => (jobs, next),
            Reply::Job(refused) => return Err(refused.map_or_else(IntoStatus::into_status, |_| unexpected())),
            _ => return Err(unexpected()),
        };
        Ok(Response::new(v1::ListJobsResponse {
            jobs: jobs.iter().map(views::job).collect(),
            next_page_token: listing::token(next),
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let caller = caller(&request)?;
        let job = self.job(caller, UserCall::Cancel(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::CancelJobResponse { job }))
    }

    async fn pause_job(
        &self,
        request: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let caller = caller(&request)?;
        let job = self.job(caller, UserCall::Pause(parse_id(&request.into_inner().job_id)?)).await?;
        Ok(Response::new(v1::PauseJobResponse { job }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ResumeJobRequest { job_id, accept_class } = request.into_inner();
        let job = self.job(caller, UserCall::Resume { id: parse_id(&job_id)?, accept_class }).await?;
        Ok(Response::new(v1::ResumeJobResponse { job }))
    }

    async fn retry_job(
        &self,
        request: Request<v1::RetryJobRequest>,
    ) -> Result<Response<v1::RetryJobResponse>, Status> {
        let caller = caller(&request)?;
        let id = parse_id(&request.into_inner().job_id)?;
        let call = self.shared.retry(id).await.map_err(IntoStatus::into_status)?;
        let job = self.job(caller, call).await?;
        Ok(Response::new(v1::RetryJobResponse { job }))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let caller = caller(&request)?;
        let id = parse_id(&request.into_inner().job_id)?;
        match self.ask(caller, UserCall::Delete(id)).await? {
            Reply::Done(Ok(())) => Ok(Response::new(v1::DeleteJobResponse {})),
            Reply::Done(Err(refused)) => Err(refused.into_status()),
            _ => Err(unexpected()),
        }
    }

    type WatchJobStream = Outgoing<v1::WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = parse_id(&request.job_id)?;
        let slot = self.limits.watchers.take(&caller)?;
        let subscription = self.shared.feeds.subscribe(&id);
        let view = self.view(caller, &id).await?;
        let cursor = watch::Cursor { revision: request.after_revision, outer_step: request.after_outer_step };
        let events = watch::stream(self.shared.clone(), subscription, &view.record, cursor);
        Ok(slot.kept_by(Box::pin(events)))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let Reply::Workers(workers) = self.ask(caller(&request)?, UserCall::Workers).await? else {
            return Err(unexpected());
        };
        let workers = workers.iter().map(views::worker).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn upload_initial_weights(
        &self,
        request: Request<Streaming<v1::UploadInitialWeightsRequest>>,
    ) -> Result<Response<v1::UploadInitialWeightsResponse>, Status> {
        let caller = caller(&request)?;
        let _slot = self.limits.uploads.take(&caller)?;
        let digest = uploads::receive(&self.shared, caller, request.into_inner()).await?;
        Ok(Response::new(v1::UploadInitialWeightsResponse { digest }))
    }

    async fn list_checkpoints(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        let caller = caller(&request)?;
        let id = parse_id(&request.into_inner().job_id)?;
        self.view(caller, &id).await?;
        let folder = self.shared.store.job_folder(&id);
        let listed = files::off_runtime(move || checkpoint::listed(&folder)).await?;
        let checkpoints = listed.iter().map(views::checkpoint).collect();
        Ok(Response::new(v1::ListCheckpointsResponse { checkpoints }))
    }

    type DownloadCheckpointStream = Outgoing<v1::DownloadCheckpointResponse>;

    async fn download_checkpoint(
        &self,
        request: Request<v1::DownloadCheckpointRequest>,
    ) -> Result<Response<Self::DownloadCheckpointStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = parse_id(&request.job_id)?;
        let slot = self.limits.downloads.take(&caller)?;
        let view = self.view(caller.clone(), &id).await?;
        let wanted = match (request.outer_step, request.best) {
            (Some(_), true) => {
                return Err(Status::invalid_argument("give either outer_step or best, not both"));
            }
            (None, true) => {
                Some(initial::best_of(&view).ok_or_else(|| CallError::NoBest(id.clone()).into_status())?)
            }
            (outer_step, false) => outer_step,
        };
        let folder = self.shared.store.job_folder(&id);
        let of_job = id.clone();
        let find = move || -> Result<_, Status> {
            let found = checkpoint::model_file_of(&folder, wanted).map_err(IntoStatus::into_status)?;
            let Some((manifest, path)) = found else {
                let which = wanted
                    .map_or("no checkpoint".into(), |step| format!("no checkpoint of outer step {step}"));
                return Err(Status::not_found(format!("job {of_job}: {which}")));
            };
            let (file, length) = files::open(&path)?;
            Ok((manifest, file, length))
        };
        let (manifest, file, length) = match files::off_runtime(find).await {
            Ok(found) => found,
            // The job may have been deleted since: then this is the answer. Once it is open, a file stays readable.
            Err(status) => return Err(self.view(caller, &id).await.err().unwrap_or(status)),
        };
        let header = v1::CheckpointHeader {
            length,
            outer_step: manifest.position.outer_step,
            digest: manifest.digest.to_string(),
        };
        Ok(slot.kept_by(Box::pin(files::send(header, file))))
    }
}
