//! Whose jobs are whose.

use super::event::CallError;
use super::job::Job;

/// Who asks for something, as far as it matters for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody is asked who they are: everybody may do everything, and jobs belong to nobody.
    Anyone,
    /// May do everything with everybody's jobs.
    Admin(String),
    /// May do everything with their own jobs and nothing with others'.
    User(String),
}

impl Caller {
    /// Whose the jobs are that they create.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Admin(name) | Self::User(name) => name,
        }
    }

    /// Whether they may look at, steer and fetch a job of that owner's.
    pub(crate) fn may_touch(&self, owner: &str) -> bool {
        match self {
            Self::Anyone | Self::Admin(_) => true,
            // A job that was created when nobody was asked has no owner.
            Self::User(name) => name == owner,
        }
    }

    /// Who they are to a job of that owner's, in words.
    pub(super) fn to_owner(&self, owner: &str) -> String {
        match self {
            Self::Admin(name) if name != owner => format!("admin {name:?}"),
            _ => "its user".to_owned(),
        }
    }

    /// Refuses what the caller may not touch.
    pub(super) fn check(&self, job: &Job) -> Result<(), CallError> {
        if self.may_touch(&job.record.owner) { Ok(()) } else { Err(CallError::NotTheirs(job.id().clone())) }
    }
}
