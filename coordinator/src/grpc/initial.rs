//! The checkpoint of another job that a new job starts from.

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use tonic::Status;

use super::{files, unexpected};
use crate::runtime::Shared;
use crate::state::event::{CallError, Reply, UserCall};
use crate::state::{Caller, InitialCheckpoint};
use crate::store::checkpoint;

/// Chooses the checkpoint that a job starts from, if it starts from one of another job. The inner error says why there is
/// none: the job does not exist, belongs to somebody else, or has no such checkpoint.
pub(super) async fn checkpoint(
    shared: &Shared,
    caller: &Caller,
    spec: &v1::JobSpec,
) -> Result<Result<Option<InitialCheckpoint>, CallError>, Status> {
    let from = spec.model.as_ref().and_then(|model| model.init_job.as_ref());
    // An identity that cannot be one is refused with the other keys.
    let Some((from, job)) = from.and_then(|from| Some((from, JobId::parse(&from.job)?))) else {
        return Ok(Ok(None));
    };
    if let Err(refused) = accessible(shared, caller, &job).await? {
        return Ok(Err(refused));
    }
    let folder = shared.store.job_folder(&job);
    let steps = files::off_runtime(move || checkpoint::list(&folder)).await?;
    let wanted = from.checkpoint;
    let found = steps.into_iter().find(|step| wanted.is_none_or(|wanted| wanted == *step));
    Ok(match found {
        Some(outer_step) => Ok(Some(InitialCheckpoint { job, outer_step, continues: from.continues })),
        None => Err(CallError::NoCheckpoint { job, outer_step: wanted }),
    })
}

/// Whether a caller has access to a job.
async fn accessible(shared: &Shared, caller: &Caller, job: &JobId) -> Result<Result<(), CallError>, Status> {
    let (caller, call) = (caller.clone(), UserCall::Get(job.clone()));
    match shared.mailbox.call(caller, call).await? {
        Reply::Job(view) => Ok(view.map(drop)),
        _ => Err(unexpected()),
    }
}
