//! The checkpoint of another job that a new job starts from.

use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use tonic::Status;

use super::{files, unexpected};
use crate::runtime::Shared;
use crate::state::event::{CallError, JobView, Reply, UserCall};
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
    let Reply::Job(view) = shared.mailbox.call(caller.clone(), UserCall::Get(job.clone())).await? else {
        return Err(unexpected());
    };
    let view = match *view {
        Ok(view) => view,
        Err(refused) => return Ok(Err(refused)),
    };
    let folder = shared.store.job_folder(&job);
    let steps = files::off_runtime(move || checkpoint::list(&folder)).await?;
    let wanted = match (from.best, best_of(&view)) {
        (false, _) => from.checkpoint,
        (true, Some(best)) => Some(best),
        (true, None) => return Ok(Err(CallError::NoBest(job))),
    };
    let found = steps.into_iter().find(|step| wanted.is_none_or(|wanted| wanted == *step));
    Ok(match found {
        Some(outer_step) => Ok(Some(InitialCheckpoint { job, outer_step, continues: from.continues })),
        None => Err(CallError::NoCheckpoint { job, outer_step: wanted }),
    })
}

/// Outer steps done at the checkpoint that a job keeps as its best one; `None` if there is none.
pub(super) fn best_of(view: &JobView) -> Option<u64> {
    Some(view.record.results?.best?.evaluation.outer_step)
}
