//! Lists of jobs: those that have not ended, then those that have, each newest first, in pages.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use lookbehind_common::job::Labels;

use super::Core;
use super::access::Caller;
use super::event::{JobView, Reply, SpecView};
use super::job::Job;
use super::record::{JobRecord, JobState};
use super::users::{view, view_of_ended};

/// Maximum size in bytes of all specifications in one page of jobs.
const MAX_PAGE_BYTES: u64 = 2 << 20;
/// Jobs that have ended that one call looks at: the work of a call does not grow with what is kept.
const LOOKED_AT: usize = 4096;

/// Which jobs a list has. What is empty restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// They are in one of these states.
    pub states: Vec<JobState>,
    /// They are this principal's.
    pub owner: String,
    /// Their names have this part, in lower case.
    pub name: String,
    /// They have these labels; an empty value stands for any.
    pub labels: Labels,
}

/// What a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Which jobs it has.
    pub filter: JobFilter,
    /// Maximum number of jobs in the page.
    pub count: usize,
    /// Where the page begins; `None` for the first one.
    pub from: Option<Place>,
    /// Whether the views hold the jobs' specifications.
    pub specs: bool,
}

/// A place in a list: what follows has lower creation numbers. A job that ends while somebody turns the pages moves
/// towards the end, so that it may be seen twice, but never be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the jobs that have not ended.
    Unended(u64),
    /// Among those that have.
    Ended(u64),
}

/// The token of a page, as clients hand it back.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unended(before) => write!(f, "u{before}"),
            Self::Ended(before) => write!(f, "e{before}"),
        }
    }
}

/// A text is not the token of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page_token is not valid")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(token: &str) -> Result<Self, NotAPlace> {
        let (place, before): (fn(u64) -> Self, _) = match token.strip_prefix('u') {
            Some(before) => (Self::Unended, before),
            None => (Self::Ended, token.strip_prefix('e').ok_or(NotAPlace)?),
        };
        before.parse().map(place).map_err(|_| NotAPlace)
    }
}

impl JobFilter {
    /// Whether a list has the job.
    fn admits(&self, record: &JobRecord) -> bool {
        let has_label = |(key, value): (&String, &String)| {
            record.labels.get(key).is_some_and(|found| value.is_empty() || found == value)
        };
        (self.states.is_empty() || self.states.contains(&record.state))
            && (self.owner.is_empty() || self.owner == record.owner)
            && (self.name.is_empty() || record.name.to_lowercase().contains(&self.name))
            && self.labels.iter().all(has_label)
    }

    /// Whether a list may have jobs that have ended.
    fn may_admit_ended(&self) -> bool {
        self.states.is_empty() || self.states.iter().any(|state| state.is_terminal())
    }
}

/// A page that is being filled.
struct Page<'a> {
    query: &'a JobQuery,
    jobs: Vec<JobView>,
    bytes: u64,
}

impl Page<'_> {
    /// Adds a job, if there is room: the first one always fits.
    fn add(&mut self, view: JobView) -> bool {
        let bytes = self.bytes + if self.query.specs { view.record.spec_bytes } else { 0 };
        let fits = self.jobs.len() < self.query.count && bytes <= MAX_PAGE_BYTES;
        if !fits && !self.jobs.is_empty() {
            return false;
        }
        self.bytes = bytes;
        let spec = if self.query.specs { SpecView::Wanted } else { SpecView::Omitted };
        self.jobs.push(JobView { spec, ..view });
        true
    }
}

impl Core {
    /// A page of the jobs that a caller may access.
    pub(super) fn list(&self, caller: &Caller, query: &JobQuery) -> Reply {
        let mut page = Page { query, jobs: Vec::new(), bytes: 0 };
        let rest = self.list_unended(caller, &mut page).or_else(|| self.list_ended(caller, &mut page));
        Reply::Jobs(page.jobs, rest)
    }

    /// Adds the jobs that have not ended. Returns where those begin for which there is no room.
    fn list_unended(&self, caller: &Caller, page: &mut Page<'_>) -> Option<Place> {
        let before = match page.query.from {
            None => u64::MAX,
            Some(Place::Unended(before)) => before,
            Some(Place::Ended(_)) => return None,
        };
        let query = page.query;
        let is_listed = |job: &&Job| {
            let record = &job.record;
            record.number < before && caller.may_access(&record.owner) && query.filter.admits(record)
        };
        let mut jobs: Vec<&Job> = self.jobs.values().filter(is_listed).collect();
        jobs.sort_unstable_by_key(|job| Reverse(job.record.number));
        let waits = self.waits();
        let full = |job: &&&Job| !page.add(JobView { waiting_for: waits.of(job), ..view(job) });
        jobs.iter().find(full).map(|job| Place::Unended(job.record.number + 1))
    }

    /// [`Self::list_unended`] for those that have ended.
    fn list_ended(&self, caller: &Caller, page: &mut Page<'_>) -> Option<Place> {
        let query = page.query;
        let filter = &query.filter;
        if !filter.may_admit_ended() {
            return None;
        }
        let before = match query.from {
            Some(Place::Ended(before)) => before,
            _ => u64::MAX,
        };
        let owner = match caller {
            Caller::User(name) => Some(name.as_str()),
            Caller::Anyone | Caller::Admin(_) => {
                Some(filter.owner.as_str()).filter(|owner| !owner.is_empty())
            }
        };
        for (looked_at, record) in self.catalog.newest_ended(owner, before).enumerate() {
            let is_full = filter.admits(record) && !page.add(view_of_ended(record));
            if is_full || looked_at == LOOKED_AT {
                // A job that was added just now is not looked at again.
                return Some(Place::Ended(record.number + u64::from(is_full)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
