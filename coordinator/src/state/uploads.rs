//! Uploaded files: which are kept, for which jobs, and to whose share they count.
//!
//! A job may start from a file that its creator has sent, or that another job starts from which its creator may read. To
//! everyone else the file does not exist.
//!
//! A file goes when the last job that starts from it is deleted, unless it was sent again since the last such job was
//! created: then another job may be about to be created. A file that no job was created from goes after a while.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobError;

use super::Core;
use super::access::Caller;
use super::catalog::{KeepLimits, full};
use super::command::Command;
use super::event::CallError;
use super::record::{Stored, UnixMillis, UploadRecord};
use super::usage::{Lack, Usage};

/// What even the smallest file counts towards the limit, so that their number is limited as well.
const LEAST: u64 = 1 << 20;

/// A file that is being received.
#[derive(Debug)]
struct Announced {
    owner: String,
    bytes: u64,
}

/// All uploaded files.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    kept: HashMap<Digest, UploadRecord>,
    /// Number of jobs that start from a file, which may have been lost, by their owner.
    jobs: HashMap<Digest, BTreeMap<String, u32>>,
    /// Kept files that no job starts from, the oldest first.
    unused: BTreeSet<(UnixMillis, [u8; 32])>,
    /// Files that are being received, by ticket.
    announced: HashMap<u64, Announced>,
    tickets: u64,
    /// Bytes of kept and announced files.
    used: Usage,
}

fn charge(bytes: u64) -> u64 {
    bytes.max(LEAST)
}

impl Uploads {
    /// The files found at a start, with the number of jobs that start from each.
    fn recover(&mut self, records: Vec<UploadRecord>) {
        for record in records {
            self.used.add(&record.owner, charge(record.bytes));
            if !self.jobs.contains_key(&record.digest) {
                self.unused.insert((record.sent_at, record.digest.0));
            }
            self.kept.insert(record.digest, record);
        }
    }

    /// Sets room aside for a file. Returns the ticket under which it is received.
    fn announce(&mut self, caller: &Caller, bytes: u64, limits: &KeepLimits) -> Result<u64, CallError> {
        let remedy = || {
            format!(
                "{} more are needed; delete jobs that have ended and start from uploaded files, with `lookbehind \
                 delete ID...` or DeleteJob; files that no job starts from are removed after {} s",
                charge(bytes),
                limits.unused_upload.as_secs()
            )
        };
        let lack = |lack: Lack| full("uploaded files", " bytes", lack, remedy());
        self.used.check(caller, charge(bytes), limits.upload_bytes).map_err(lack)?;
        let owner = caller.name().to_owned();
        self.used.add(&owner, charge(bytes));
        self.tickets += 1;
        self.announced.insert(self.tickets, Announced { owner, bytes });
        Ok(self.tickets)
    }

    /// Nothing more comes of an announced file. Has no effect on one that was received.
    fn abandon(&mut self, ticket: u64) {
        if let Some(Announced { owner, bytes }) = self.announced.remove(&ticket) {
            self.used.remove(&owner, charge(bytes));
        }
    }

    /// Keeps an announced file that was received. Returns its record; `None` if it was not announced.
    fn keep(&mut self, ticket: u64, digest: Digest, now: UnixMillis) -> Option<UploadRecord> {
        let Announced { owner, bytes } = self.announced.remove(&ticket)?;
        let mut senders = self.forget(&digest).map(UploadRecord::into_senders).unwrap_or_default();
        senders.insert(owner.clone());
        let record = UploadRecord { digest, bytes, owner, senders, sent_at: now, claimed: false };
        if !self.jobs.contains_key(&digest) {
            self.unused.insert((now, digest.0));
        }
        self.kept.insert(digest, record.clone());
        Some(record)
    }

    fn forget(&mut self, digest: &Digest) -> Option<UploadRecord> {
        let record = self.kept.remove(digest)?;
        self.used.remove(&record.owner, charge(record.bytes));
        self.unused.remove(&(record.sent_at, digest.0));
        Some(record)
    }

    /// Whether there is such a file for this caller.
    fn is_for(&self, caller: &Caller, digest: &Digest) -> bool {
        let sent = |record: &UploadRecord| record.senders().any(|sender| caller.may_access(sender));
        let read =
            || self.jobs.get(digest).is_some_and(|jobs| jobs.keys().any(|owner| caller.may_access(owner)));
        self.kept.get(digest).is_some_and(|record| sent(record) || read())
    }

    /// A job of this owner that starts from the file was created. Returns the file's record if it has changed.
    fn claim(&mut self, digest: Digest, owner: &str) -> Option<UploadRecord> {
        *self.jobs.entry(digest).or_default().entry(owner.to_owned()).or_default() += 1;
        let record = self.kept.get_mut(&digest)?;
        self.unused.remove(&(record.sent_at, digest.0));
        (!std::mem::replace(&mut record.claimed, true)).then(|| record.clone())
    }

    /// A job of this owner that starts from the file was deleted. Returns whether the file goes.
    fn release(&mut self, digest: &Digest, owner: &str) -> bool {
        let Some(jobs) = self.jobs.get_mut(digest) else { return false };
        if let Some(count) = jobs.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                jobs.remove(owner);
            }
        }
        if !jobs.is_empty() {
            return false;
        }
        self.jobs.remove(digest);
        match self.kept.get(digest) {
            Some(record) if record.claimed => {
                self.forget(digest);
                true
            }
            Some(record) => {
                self.unused.insert((record.sent_at, digest.0));
                false
            }
            None => false,
        }
    }

    /// Forgets a file that has not been used for longer than `limit`. Returns its digest.
    fn next_unused(&mut self, now: UnixMillis, limit: Duration) -> Option<Digest> {
        let (sent_at, digest) = *self.unused.first()?;
        let age = Duration::from_millis(now.0.saturating_sub(sent_at.0));
        let digest = Digest(digest);
        (age > limit).then(|| self.forget(&digest)).map(|_| digest)
    }
}

impl Core {
    /// Takes over the uploads found at a start, after the jobs.
    pub(super) fn recover_uploads(&mut self, stored: &mut Stored) {
        let now = self.cluster.now.unix;
        let mut records = std::mem::take(&mut stored.uploads);
        for (digest, bytes) in stored.unrecorded_uploads.drain(..) {
            let (owner, senders) = (String::new(), BTreeSet::new());
            let record = UploadRecord { digest, bytes, owner, senders, sent_at: now, claimed: false };
            self.cluster.push(Command::KeepUpload { ticket: None, record: record.clone() });
            records.push(record);
        }
        self.uploads.recover(records);
    }

    pub(super) fn announce_upload(&mut self, caller: &Caller, bytes: u64) -> Result<u64, CallError> {
        self.uploads.announce(caller, bytes, &self.cluster.config.keep)
    }

    pub(super) fn abandon_upload(&mut self, ticket: u64) {
        self.uploads.abandon(ticket);
    }

    pub(super) fn keep_upload(&mut self, ticket: u64, digest: Digest) -> Result<(), CallError> {
        let record =
            self.uploads.keep(ticket, digest, self.cluster.now.unix).ok_or(CallError::NotAnnounced)?;
        tracing::info!(%digest, bytes = record.bytes, owner = record.owner, "file uploaded");
        self.cluster.push(Command::KeepUpload { ticket: Some(ticket), record });
        Ok(())
    }

    /// Checks that the file from which a job is to start is there for its creator. A file of somebody else and one that was
    /// never sent get the same answer.
    pub(super) fn check_init(&self, caller: &Caller, init: Option<Digest>) -> Result<(), CallError> {
        match init.filter(|digest| !self.uploads.is_for(caller, digest)) {
            Some(digest) => {
                let problem = format!("no file of digest {digest} was uploaded");
                Err(JobError::new("model.init", &problem).into())
            }
            None => Ok(()),
        }
    }

    /// A job was created or found at a start. The change of its file's record is stored after the job itself: a file
    /// whose record says that a job starts from it always has one.
    pub(super) fn claim_upload(&mut self, init: Option<Digest>, owner: &str) {
        if let Some(record) = init.and_then(|digest| self.uploads.claim(digest, owner)) {
            self.cluster.push(Command::KeepUpload { ticket: None, record });
        }
    }

    pub(super) fn release_upload(&mut self, init: Option<Digest>, owner: &str) {
        if let Some(digest) = init.filter(|digest| self.uploads.release(digest, owner)) {
            tracing::info!(%digest, "uploaded file removed with its last job");
            self.cluster.push(Command::DropUpload(digest));
        }
    }

    /// Removes files that no job starts from after their time.
    pub(super) fn remove_unused_uploads(&mut self) {
        let limit = self.cluster.config.keep.unused_upload;
        while let Some(digest) = self.uploads.next_unused(self.cluster.now.unix, limit) {
            tracing::info!(%digest, "uploaded file removed: no job starts from it");
            self.cluster.push(Command::DropUpload(digest));
        }
    }
}

#[cfg(test)]
mod tests;
