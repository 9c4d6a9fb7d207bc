//! Ownership of jobs, and who may access them.

/// The caller of an operation, as far as access to jobs depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The coordinator runs without credentials: every caller has full access, and jobs have no owner.
    Anyone,
    /// An administrator with this name: full access to all jobs.
    Admin(String),
    /// A user with this name: full access to their own jobs, none to others.
    User(String),
}

impl Caller {
    /// The owner of the jobs that this caller creates.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Admin(name) | Self::User(name) => name,
        }
    }

    /// Whether the caller may view, steer and download a job of this owner.
    pub(crate) fn may_access(&self, owner: &str) -> bool {
        match self {
            Self::Anyone | Self::Admin(_) => true,
            // A job that was created without credentials has an empty owner.
            Self::User(name) => name == owner,
        }
    }

    /// The caller in relation to the owner of a job, for notices.
    pub(super) fn relation_to_owner(&self, owner: &str) -> String {
        match self {
            Self::Admin(name) if name != owner => format!("admin {name:?}"),
            _ => "its user".to_owned(),
        }
    }
}
