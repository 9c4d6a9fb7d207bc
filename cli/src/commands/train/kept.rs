//! What a state folder holds from earlier runs of `train`: the same job goes on, and others are named and set aside.

use lookbehind_common::text::printable;
use lookbehind_proto::json::state_name;
use lookbehind_proto::v1;
use lookbehind_proto::wire;

use crate::changes;
use crate::client::Client;
use crate::error::CliError;
use crate::job::JobSource;
use crate::text::is_over;

/// Most jobs of a state folder that are looked at.
const MOST: usize = 1000;

/// The jobs of a state folder, the newest first.
#[derive(Default)]
pub(super) struct Kept(Vec<v1::Job>);

impl Kept {
    /// The jobs that a coordinator has found in its state folder.
    ///
    /// # Errors
    /// If there is no answer.
    pub(super) async fn found_by(client: &Client) -> Result<Self, CliError> {
        let (mut jobs, _) = client.jobs(v1::ListJobsRequest::default(), MOST).await?;
        // Jobs that have not ended come first in lists.
        let created = |job: &v1::Job| job.created_at.as_ref().map(|at| (at.seconds, at.nanos));
        jobs.sort_by_key(|job| std::cmp::Reverse(created(job)));
        Ok(Self(jobs))
    }

    /// The newest job with this specification, in whatever state. The text of its file does not matter.
    pub(super) fn same(&self, spec: &v1::JobSpec) -> Option<&v1::Job> {
        self.0.iter().find(|job| job.spec.as_ref() == Some(spec))
    }

    /// Why a job that is not among them begins anew although one of its name is; `None` if there is none.
    pub(super) fn why_anew(&self, source: &JobSource) -> Option<String> {
        let spec = |job: &v1::Job| job.spec.as_ref().and_then(|spec| wire::from_proto(spec).ok());
        let (earlier, file) = self.0.iter().find_map(|job| {
            let file = spec(job).filter(|file| file.name == source.spec.name)?;
            Some((job, file))
        })?;
        let v1::Job { id, outer_step, total_outer_steps, .. } = earlier;
        let state = state_name(earlier.state());
        let changes = changes::between(&file, source.file());
        Some(format!(
            "job {id} in the state folder ({state} at outer step {outer_step} of {total_outer_steps}) is another version \
             of this one: {}; this one begins at outer step 0",
            printable(&changes)
        ))
    }

    /// Pauses the jobs other than `id` that are not over, so that all workers are for that one. Returns their identities.
    ///
    /// # Errors
    /// If there is no answer.
    pub(super) async fn set_aside(&self, client: &Client, id: &str) -> Result<Vec<String>, CliError> {
        let mut paused = Vec::new();
        for job in &self.0 {
            if job.id == id || is_over(job.state()) || job.state() == v1::JobState::Paused {
                continue;
            }
            match client.pause(&job.id).await {
                Ok(job) => paused.push(job.id),
                // It has ended in the meantime.
                Err(CliError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(paused)
    }
}

#[cfg(test)]
mod tests;
