//! Conversion of a database of format 1, which held each job's specification within its record.

use std::path::Path;

use lookbehind_common::digest::Digest;
use lookbehind_proto::v1;
use prost::Message as _;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;
use serde_json::Value;

use super::records::{RECORDS, SPECS, create_tables};
use super::{FORMAT, META, StoreError, database_error, decode, encode};
use crate::state::JobRecord;

const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");

/// A record of format 1: the specification, and fields that are as they were.
#[derive(Deserialize)]
struct OldRecord {
    spec: Vec<u8>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// Converts a database of format 1 in one transaction: after a crash it has the old format or the new one.
///
/// # Errors
/// If the database has a newer format, is damaged, or cannot be written.
pub(super) fn convert(database: &mut Database, root: &Path) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(database_error)?;
    let found = {
        let meta = transaction.open_table(META).map_err(database_error)?;
        meta.get("format").map_err(database_error)?.map(|format| format.value().to_owned())
    };
    let format = found.as_deref().map_or(Some(FORMAT), |found| found.parse().ok());
    match format {
        Some(FORMAT) => return Ok(()),
        Some(1) => {}
        _ => {
            let found = found.unwrap_or_default();
            return Err(StoreError::Newer { path: root.to_owned(), found });
        }
    }
    let jobs = convert_jobs(&transaction)?;
    let meta = transaction.open_table(META).map_err(database_error)?;
    { meta }.insert("format", FORMAT.to_string().as_str()).map_err(database_error)?;
    transaction.commit().map_err(database_error)?;
    // What the old records took can be several times the new ones. The state is good without it.
    if let Err(error) = database.compact() {
        tracing::warn!(%error, "the database could not be compacted");
    }
    tracing::info!(jobs, "the state was converted from format 1 to format {FORMAT}");
    Ok(())
}

fn convert_jobs(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    create_tables(transaction)?;
    let mut converted = 0;
    {
        let jobs = transaction.open_table(JOBS).map_err(database_error)?;
        let mut records = transaction.open_table(RECORDS).map_err(database_error)?;
        let mut specs = transaction.open_table(SPECS).map_err(database_error)?;
        for entry in jobs.iter().map_err(database_error)? {
            let (id, bytes) = entry.map_err(database_error)?;
            let (record, spec) = convert_record(&format!("job {}", id.value()), bytes.value())?;
            records.insert(id.value(), encode(&record)?.as_slice()).map_err(database_error)?;
            specs.insert(id.value(), spec.as_slice()).map_err(database_error)?;
            converted += 1;
        }
    }
    transaction.delete_table(JOBS).map_err(database_error)?;
    Ok(converted)
}

fn convert_record(what: &str, bytes: &[u8]) -> Result<(JobRecord, Vec<u8>), StoreError> {
    let OldRecord { spec, mut rest } = decode(what, bytes)?;
    // A specification that cannot be decoded stays: the start then leaves the job alone.
    let decoded = v1::JobSpec::decode(spec.as_slice()).ok();
    let init = decoded.and_then(|spec| spec.model?.init).and_then(|init| Digest::parse(&init));
    rest.insert("spec_bytes".into(), spec.len().into());
    rest.insert("spec_digest".into(), Digest::of(&spec).to_string().into());
    rest.insert("init".into(), init.map(|digest| digest.to_string()).into());
    let record = serde_json::from_value(Value::Object(rest))
        .map_err(|error| StoreError::Damaged { what: what.to_owned(), reason: error.to_string() })?;
    Ok((record, spec))
}
