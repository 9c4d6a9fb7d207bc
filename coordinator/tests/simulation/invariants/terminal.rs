//! A job ends once, as succeeded, as cancelled if its user requested that, or as failed if there are only workers that
//! say that nobody can prepare it; its terminal state is final, unless its user retries it. Only a job that has ended can be
//! deleted, and it does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::{JobRecord, JobState};

use super::Broken;
use crate::disk::Disk;
use crate::jobs::Expected;

/// Watches the states of jobs.
#[derive(Default)]
pub(crate) struct Terminal {
    cancelled: BTreeSet<JobId>,
    retried: BTreeSet<JobId>,
    given_up: BTreeSet<JobId>,
    deceived: BTreeSet<JobId>,
    pub(crate) broken: Broken,
}

impl Terminal {
    /// A user has requested the cancellation of a job.
    pub(crate) fn cancelled(&mut self, job: &JobId) {
        self.cancelled.insert(job.clone());
    }

    /// A user goes on with a job that was cancelled.
    pub(crate) fn retried(&mut self, job: &JobId) {
        self.retried.insert(job.clone());
    }

    /// All workers that are there say that nobody can prepare the job.
    pub(crate) fn given_up(&mut self, job: &JobId) {
        self.given_up.insert(job.clone());
    }

    /// See `Invariants::deceived`.
    pub(crate) fn deceived(&mut self, job: &JobId) {
        self.deceived.insert(job.clone());
    }

    /// Whether a job fails because of an owner that has lied: it is named, or what followed from its lie is.
    fn is_excused(&self, record: &JobRecord) -> bool {
        let names = ["did not add block", "digest"];
        self.deceived.contains(&record.id) && names.iter().any(|name| record.message.contains(name))
    }

    /// A record is about to be stored.
    pub(crate) fn stored(&mut self, disk: &Disk, record: &JobRecord) {
        let before = disk.records.get(&record.id).map(|before| before.state);
        let is_retried = before == Some(JobState::Cancelled)
            && record.state == JobState::Queued
            && self.retried.contains(&record.id);
        self.broken.check(is_retried || before.is_none_or(|before| !before.is_terminal()), || {
            format!("job {} was {before:?} and became {:?}", record.id, record.state)
        });
        self.broken.check(!disk.deleted.contains(&record.id), || {
            format!("job {} was deleted and is stored again as {:?}", record.id, record.state)
        });
        let wanted = match record.state {
            JobState::Failed => self.given_up.contains(&record.id) || self.is_excused(record),
            JobState::Cancelled => self.cancelled.contains(&record.id),
            _ => true,
        };
        self.broken
            .check(wanted, || format!("job {} became {:?}: {}", record.id, record.state, record.message));
    }

    /// A job is about to be deleted.
    pub(crate) fn deleted(&mut self, disk: &Disk, job: &JobId) {
        let state = disk.records.get(job).map(|record| record.state);
        self.broken
            .check(state.is_some_and(JobState::is_terminal), || format!("job {job} is deleted as {state:?}"));
    }

    /// Every job has ended.
    pub(crate) fn at_end(&mut self, jobs: &BTreeMap<JobId, Rc<Expected>>, disk: &Disk) {
        for record in disk.records.values() {
            self.broken.check(record.state.is_terminal(), || format!("job {} is left over", record.id));
            self.broken
                .check(jobs.contains_key(&record.id), || format!("job {} was not requested", record.id));
        }
    }
}
