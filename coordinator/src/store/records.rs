//! The tables of the database: small records of all jobs, which a start reads; specifications, which only jobs that have
//! not ended need at a start; notices; records of uploads; and deleted jobs whose files are still to be removed.

use fail::fail_point;
use lookbehind_common::digest::Digest;
use lookbehind_common::ids::JobId;
use lookbehind_proto::v1;
use prost::Message as _;
use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::{META, Store, StoreError, database_error, decode, encode, uploads};
use crate::state::{JobChange, JobRecord, Notice, Stored, StoredJob, UploadRecord};

pub(super) const RECORDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("records");
pub(super) const SPECS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("specs");
const NOTICES: TableDefinition<'static, (&str, u64), &[u8]> = TableDefinition::new("notices");
const UPLOADS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("uploads");
const REMOVALS: TableDefinition<'static, &str, ()> = TableDefinition::new("removals");

/// Notices that are kept of a job; older ones are removed.
const KEPT_NOTICES: u64 = 10_000;

/// What is done with a table, whatever its keys and values are.
pub(super) trait OnTable {
    fn on<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), StoreError>;
}

/// Does something with each table of the database: the only list of them.
pub(super) fn on_all_tables(act: &mut impl OnTable) -> Result<(), StoreError> {
    act.on(META)?;
    act.on(RECORDS)?;
    act.on(SPECS)?;
    act.on(NOTICES)?;
    act.on(UPLOADS)?;
    act.on(REMOVALS)
}

/// Creates the tables that are missing.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    struct Create<'a>(&'a WriteTransaction);
    impl OnTable for Create<'_> {
        fn on<K: Key + 'static, V: Value + 'static>(
            &mut self,
            table: TableDefinition<'static, K, V>,
        ) -> Result<(), StoreError> {
            self.0.open_table(table).map(drop).map_err(database_error)
        }
    }
    on_all_tables(&mut Create(transaction))
}

/// The name in the specification of a job whose record was stored by a version that did not keep it there; empty if
/// the specification is missing or cannot be decoded.
fn name_in(specs: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<String, StoreError> {
    let spec = specs.get(id).map_err(database_error)?;
    let decoded = spec.and_then(|spec| v1::JobSpec::decode(spec.value()).ok());
    Ok(decoded.map(|spec| spec.name).unwrap_or_default())
}

impl Store {
    /// What a start needs: records of all jobs and uploads, and specifications of the jobs that have not ended. Removes
    /// what is left of uploads that were not received completely. Also returns the jobs whose files are to be removed.
    pub(super) fn stored(&self) -> Result<(Stored, Vec<JobId>), StoreError> {
        let files = uploads::clean(&self.uploads_folder())?;
        let transaction = self.begin_read()?;
        let specs = transaction.open_table(SPECS).map_err(database_error)?;
        let mut stored = Stored::default();
        for entry in
            transaction.open_table(RECORDS).map_err(database_error)?.iter().map_err(database_error)?
        {
            let (id, bytes) = entry.map_err(database_error)?;
            let mut record: JobRecord = decode(&format!("job {}", id.value()), bytes.value())?;
            if record.name.is_empty() {
                record.name = name_in(&specs, id.value())?;
            }
            let spec = match record.state.is_terminal() {
                true => None,
                false => specs.get(id.value()).map_err(database_error)?.map(|spec| spec.value().to_vec()),
            };
            stored.jobs.push(StoredJob { record, spec });
        }
        for entry in
            transaction.open_table(UPLOADS).map_err(database_error)?.iter().map_err(database_error)?
        {
            let (digest, bytes) = entry.map_err(database_error)?;
            stored.uploads.push(decode(&format!("upload {}", digest.value()), bytes.value())?);
        }
        // A record whose file is gone is of no use.
        stored.uploads.retain(|upload| files.contains_key(&upload.digest));
        let recorded: std::collections::HashSet<Digest> =
            stored.uploads.iter().map(|upload| upload.digest).collect();
        stored.unrecorded_uploads =
            files.into_iter().filter(|(digest, _)| !recorded.contains(digest)).collect();
        let mut removals = Vec::new();
        for entry in
            transaction.open_table(REMOVALS).map_err(database_error)?.iter().map_err(database_error)?
        {
            removals.extend(JobId::parse(entry.map_err(database_error)?.0.value()));
        }
        Ok((stored, removals))
    }

    /// Applies a change to the database in one transaction, which is durable when this returns.
    /// On a full disk it takes the reserved room; see [`Store::failure`].
    fn write(&self, change: impl Fn(&WriteTransaction) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let Err(error) = self.attempt(&change) else { return Ok(()) };
        self.note_failure(&error);
        self.reopen();
        if !error.is_full() {
            return Err(error);
        }
        self.attempt(&change).inspect_err(|_| self.reopen())
    }

    fn attempt(
        &self,
        change: impl Fn(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let written = (|| {
            fail_point!("store::put");
            let transaction = self.begin_write()?;
            change(&transaction)?;
            fail_point!("store::written");
            transaction.commit().map_err(database_error)?;
            fail_point!("store::durable");
            Ok(())
        })();
        written.map_err(|error: StoreError| error.in_folder(&self.root))
    }

    /// Stores a change of a job in one transaction, which is durable when this returns.
    ///
    /// # Errors
    /// If the database cannot be written. What was stored before is unchanged, and a later call may succeed. This
    /// applies to all methods that write.
    pub fn put(&self, change: &JobChange) -> Result<(), StoreError> {
        let id = change.record.id.as_str();
        self.write(|transaction| {
            let mut records = transaction.open_table(RECORDS).map_err(database_error)?;
            records.insert(id, encode(&change.record)?.as_slice()).map_err(database_error)?;
            if let Some(spec) = &change.spec {
                let mut specs = transaction.open_table(SPECS).map_err(database_error)?;
                specs.insert(id, &**spec).map_err(database_error)?;
            }
            let mut notices = transaction.open_table(NOTICES).map_err(database_error)?;
            for notice in &change.notices {
                let key = (id, notice.revision);
                notices.insert(key, encode(notice)?.as_slice()).map_err(database_error)?;
                if let Some(old) = notice.revision.checked_sub(KEPT_NOTICES) {
                    notices.remove((id, old)).map_err(database_error)?;
                }
            }
            Ok(())
        })
    }

    /// Removes a job with its specification and notices, and notes that its files are to be removed.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&self, job: &JobId) -> Result<(), StoreError> {
        let id = job.as_str();
        self.write(|transaction| {
            transaction.open_table(RECORDS).map_err(database_error)?.remove(id).map_err(database_error)?;
            transaction.open_table(SPECS).map_err(database_error)?.remove(id).map_err(database_error)?;
            let mut notices = transaction.open_table(NOTICES).map_err(database_error)?;
            notices.retain_in((id, 0)..=(id, u64::MAX), |_, _| false).map_err(database_error)?;
            let mut removals = transaction.open_table(REMOVALS).map_err(database_error)?;
            removals.insert(id, ()).map_err(database_error)?;
            Ok(())
        })
    }

    /// Removes the files of a deleted job.
    ///
    /// # Errors
    /// If they cannot be removed, or as [`Self::put`]; the next start tries it again.
    pub fn remove_files(&self, job: &JobId) -> Result<(), StoreError> {
        let folder = self.job_folder(job);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(&folder)(error));
            }
            _ => {}
        }
        self.write(|transaction| {
            let mut removals = transaction.open_table(REMOVALS).map_err(database_error)?;
            removals.remove(job.as_str()).map_err(database_error)?;
            Ok(())
        })
    }

    /// Stores the record of an upload. With a ticket, the file that was received under it first gets its name.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn keep_upload(&self, ticket: Option<u64>, record: &UploadRecord) -> Result<(), StoreError> {
        if let Some(ticket) = ticket {
            uploads::give_name(&self.uploads_folder(), ticket, &record.digest)?;
        }
        self.write(|transaction| {
            let mut uploads = transaction.open_table(UPLOADS).map_err(database_error)?;
            let key = record.digest.to_string();
            uploads.insert(key.as_str(), encode(record)?.as_slice()).map_err(database_error)?;
            Ok(())
        })
    }

    /// Removes the record of an upload, then its file.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn drop_upload(&self, digest: &Digest) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut uploads = transaction.open_table(UPLOADS).map_err(database_error)?;
            uploads.remove(digest.to_string().as_str()).map_err(database_error)?;
            Ok(())
        })?;
        uploads::remove(&self.uploads_folder(), digest);
        Ok(())
    }

    /// The specification of a job as it was sent, encoded; `None` if the job is not stored.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn spec(&self, job: &JobId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let specs = transaction.open_table(SPECS).map_err(database_error)?;
            Ok(specs.get(job.as_str()).map_err(database_error)?.map(|spec| spec.value().to_vec()))
        })
    }

    /// A job's notices after a revision, oldest first, at most `limit`.
    ///
    /// # Errors
    /// If the database cannot be read, or a notice is damaged.
    pub fn notices(&self, job: &JobId, after: u64, limit: usize) -> Result<Vec<Notice>, StoreError> {
        self.read(|transaction| {
            let notices = transaction.open_table(NOTICES).map_err(database_error)?;
            let range = (job.as_str(), after.saturating_add(1))..=(job.as_str(), u64::MAX);
            let mut found = Vec::new();
            for entry in notices.range(range).map_err(database_error)?.take(limit) {
                let (_, bytes) = entry.map_err(database_error)?;
                found.push(decode(&format!("notices of job {job}"), bytes.value())?);
            }
            Ok(found)
        })
    }

    /// Reads from the database as it is now.
    fn read<T>(&self, act: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.begin_read()
            .and_then(|transaction| act(&transaction))
            .map_err(|error| error.in_folder(&self.root))
    }
}
