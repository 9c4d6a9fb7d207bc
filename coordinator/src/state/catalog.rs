//! All kept jobs: an index by number and owner, what they take of the limits, and the records of those that have
//! ended. Of a job that has ended nothing else is in memory, and no event walks over such jobs.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lookbehind_common::ids::JobId;

use super::access::Caller;
use super::event::CallError;
use super::record::{JobRecord, JobState, UnixMillis};
use super::retention::{Excess, Retention};
use super::usage::{Lack, Usage};

/// What says how to make room for further jobs.
pub(super) const DELETE: &str = "delete jobs that have ended, with `lookbehind delete ID...` or DeleteJob";

/// Limits on what is kept.
#[derive(Clone, Debug)]
pub struct KeepLimits {
    /// Maximum number of jobs, including those that have ended.
    pub jobs: u64,
    /// Maximum size in bytes of all their specifications together.
    pub job_bytes: u64,
    /// Maximum size in bytes of the checkpoints of all kept jobs together.
    pub checkpoint_bytes: u64,
    /// Maximum size in bytes of all uploaded files together.
    pub upload_bytes: u64,
    /// How long an uploaded file is kept that no job starts from.
    pub unused_upload: Duration,
}

/// The kept jobs of one owner.
#[derive(Debug, Default)]
struct Shelf {
    by_number: BTreeMap<u64, JobId>,
    /// By `request_id`, so that a retried creation returns the job that the first attempt made.
    requests: HashMap<String, JobId>,
}

/// All kept jobs.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// Jobs that have ended.
    ended: HashMap<JobId, Box<JobRecord>>,
    /// Those of them that can be deleted by age, the oldest first: by the time of their end and their number.
    by_end: BTreeMap<(UnixMillis, u64), JobId>,
    /// Size in bytes of the files of those of them that were measured.
    file_bytes: HashMap<JobId, u64>,
    /// The sums of `file_bytes`.
    files: Usage,
    by_number: BTreeMap<u64, JobId>,
    by_owner: HashMap<String, Shelf>,
    count: Usage,
    bytes: Usage,
    /// Bytes of the specifications of jobs that have not ended: those are in memory.
    unended_bytes: Usage,
}

impl Catalog {
    /// Enters a job that has not ended.
    pub(super) fn add(&mut self, record: &JobRecord) {
        self.by_number.insert(record.number, record.id.clone());
        let shelf = self.by_owner.entry(record.owner.clone()).or_default();
        shelf.by_number.insert(record.number, record.id.clone());
        shelf.requests.insert(record.request_id.clone(), record.id.clone());
        self.count.add(&record.owner, 1);
        self.bytes.add(&record.owner, record.spec_bytes);
        self.unended_bytes.add(&record.owner, record.spec_bytes);
    }

    /// Keeps the record of a job that was entered and has ended.
    pub(super) fn end(&mut self, record: JobRecord) {
        self.unended_bytes.remove(&record.owner, record.spec_bytes);
        let may_be_retried = matches!(record.state, JobState::Failed | JobState::Cancelled);
        let record = match may_be_retried && record.checkpoint.is_some() {
            true => record,
            // What only a job that goes on needs.
            false => JobRecord { class: None, description: None, ..record },
        };
        if let Some(end) = record.finished_at {
            self.by_end.insert((end, record.number), record.id.clone());
        }
        self.ended.insert(record.id.clone(), Box::new(record));
    }

    /// Takes a job out of those that have ended.
    fn take_ended(&mut self, id: &JobId) -> Option<Box<JobRecord>> {
        let record = self.ended.remove(id)?;
        if let Some(end) = record.finished_at {
            self.by_end.remove(&(end, record.number));
        }
        self.files.remove(&record.owner, self.file_bytes.remove(id).unwrap_or(0));
        Some(record)
    }

    /// Notes the size in bytes of the files of a job, if it has ended.
    pub(super) fn measured(&mut self, id: &JobId, bytes: u64) {
        if let Some(record) = self.ended.get(id) {
            let before = self.file_bytes.insert(id.clone(), bytes);
            self.files.remove(&record.owner, before.unwrap_or(0));
            self.files.add(&record.owner, bytes);
        }
    }

    /// Sizes in bytes of the files of the jobs that have ended.
    pub(super) fn files(&self) -> &Usage {
        &self.files
    }

    /// The job that ended first, if it is beyond what is kept, and what it exceeds.
    pub(super) fn beyond(&self, retention: &Retention, now: UnixMillis) -> Option<(JobId, Excess)> {
        let ((end, _), id) = self.by_end.first_key_value()?;
        let age = Duration::from_millis(now.0.saturating_sub(end.0));
        let excesses = [
            (Excess::Time, retention.time.is_some_and(|time| age > time)),
            (Excess::Jobs, retention.jobs.is_some_and(|jobs| self.by_end.len() as u64 > jobs)),
            (Excess::Bytes, retention.bytes.is_some_and(|bytes| self.files.total() > bytes)),
        ];
        let (excess, _) = excesses.into_iter().find(|(_, exceeded)| *exceeded)?;
        Some((id.clone(), excess))
    }

    /// Takes the record of a job that had ended, which has not ended any more.
    pub(super) fn revive(&mut self, id: &JobId) -> Option<JobRecord> {
        let record = self.take_ended(id)?;
        self.unended_bytes.add(&record.owner, record.spec_bytes);
        Some(*record)
    }

    /// Removes a job that has ended, and returns its record.
    pub(super) fn remove(&mut self, id: &JobId) -> Option<Box<JobRecord>> {
        let record = self.take_ended(id)?;
        self.by_number.remove(&record.number);
        if let Some(shelf) = self.by_owner.get_mut(&record.owner) {
            shelf.by_number.remove(&record.number);
            shelf.requests.remove(&record.request_id);
            if shelf.by_number.is_empty() {
                self.by_owner.remove(&record.owner);
            }
        }
        self.count.remove(&record.owner, 1);
        self.bytes.remove(&record.owner, record.spec_bytes);
        Some(record)
    }

    /// The record of a job that has ended.
    pub(super) fn ended(&self, id: &JobId) -> Option<&JobRecord> {
        self.ended.get(id).map(|record| &**record)
    }

    /// The job that an owner has created under a `request_id`.
    pub(super) fn requested(&self, owner: &str, request_id: &str) -> Option<&JobId> {
        self.by_owner.get(owner)?.requests.get(request_id)
    }

    /// The jobs that have ended, of one owner if one is given, newest first, with numbers lower than `before`.
    pub(super) fn newest_ended(
        &self,
        owner: Option<&str>,
        before: u64,
    ) -> impl Iterator<Item = &JobRecord> + use<'_> {
        let all = match owner {
            None => Some(&self.by_number),
            Some(name) => self.by_owner.get(name).map(|shelf| &shelf.by_number),
        };
        let jobs = all.map(|jobs| jobs.range(..before).rev());
        jobs.into_iter().flatten().filter_map(|(_, id)| self.ended(id))
    }

    /// Checks that a caller may create a further job.
    pub(super) fn check(&self, caller: &Caller, limits: &KeepLimits) -> Result<(), CallError> {
        let lack = |lack: Lack| full("kept jobs", "", lack, DELETE.into());
        self.count.check(caller, 1, limits.jobs).map_err(lack)
    }

    /// Checks that a caller may create a further job with a specification of `bytes` bytes.
    pub(super) fn check_bytes(
        &self,
        caller: &Caller,
        bytes: u64,
        limits: &KeepLimits,
    ) -> Result<(), CallError> {
        let remedy = || format!("{bytes} more are needed; {DELETE}");
        let lack = |lack: Lack| full("specifications of kept jobs", " bytes", lack, remedy());
        self.bytes.check(caller, bytes, limits.job_bytes).map_err(lack)?;
        self.check_unended_bytes(caller, bytes, limits)
    }

    /// Checks that a caller may have a further job of `bytes` bytes that has not ended.
    pub(super) fn check_unended_bytes(
        &self,
        caller: &Caller,
        bytes: u64,
        limits: &KeepLimits,
    ) -> Result<(), CallError> {
        /// The part of the limit that jobs may have that have not ended: one over this. Their specifications are in
        /// memory.
        const UNENDED: u64 = 8;
        let remedy = || {
            format!(
                "{bytes} more are needed; wait until some have ended, or cancel them with `lookbehind cancel ID`"
            )
        };
        let lack = |lack: Lack| full("specifications of jobs that have not ended", " bytes", lack, remedy());
        self.unended_bytes.check(caller, bytes, limits.job_bytes / UNENDED).map_err(lack)
    }
}

/// The refusal of what a limit leaves no room for.
pub(super) fn full(what: &'static str, unit: &'static str, lack: Lack, remedy: String) -> CallError {
    let Lack { of_one_user, used, limit } = lack;
    let whose = if of_one_user { "one user" } else { "all users together" };
    CallError::Full { what, unit, whose, used, limit, remedy }
}
