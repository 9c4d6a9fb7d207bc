//! Options of sharing between users.

use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

use clap::Args;
use clap::builder::FalseyValueParser;

use crate::state::Sharing;

/// Options of sharing between users.
#[derive(Clone, Debug, Args)]
pub(super) struct SharingArgs {
    /// Share of a user in the workers, while several users want them; 1 for all others. May be repeated.
    #[arg(long = "share", value_name = "USER=N")]
    shares: Vec<Share>,
    /// Maximum number of running jobs of one user; further ones stay queued.
    #[arg(long, value_name = "N")]
    max_active_jobs_per_user: Option<NonZeroUsize>,
    /// Pause running jobs, after their current outer step, where a job of a higher priority lacks workers.
    #[arg(long, env = "LOOKBEHIND_PREEMPT", value_parser = FalseyValueParser::new())]
    preempt: bool,
}

/// The share of one user.
#[derive(Clone, Debug)]
struct Share(String, NonZeroU32);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').filter(|(user, _)| !user.is_empty());
        let (user, share) = parts.ok_or("expected USER=N, such as ada=2")?;
        let share = share.parse().map_err(|error| format!("share of {user}: expected 1 or more: {error}"))?;
        Ok(Self(user.to_owned(), share))
    }
}

impl SharingArgs {
    /// The rules.
    pub(super) fn rules(self) -> Sharing {
        Sharing {
            shares: self.shares.into_iter().map(|Share(user, share)| (user, share.get())).collect(),
            max_active_jobs: self.max_active_jobs_per_user.map(NonZeroUsize::get),
            preempt: self.preempt,
        }
    }
}
