//! The specification of a job that a user submits, read and checked. That is done before the core gets it: a large
//! specification takes a while, during which no worker would be served.

use std::sync::Arc;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::{JobError, JobSpec};
use lookbehind_proto::{v1, wire};
use prost::Message as _;

/// Maximum size in bytes of an encoded specification: it is sent to every worker and is part of lists of jobs.
const MAX_BYTES: usize = 256 << 10;

/// A valid specification.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The specification.
    pub(super) spec: JobSpec,
    /// It as it was sent, encoded.
    pub(super) encoded: Arc<[u8]>,
    /// Digest of `encoded`, by which a retried creation is told from another one.
    pub(super) digest: Digest,
}

impl Submission {
    /// Reads a specification.
    ///
    /// # Errors
    /// If a value is not valid, or the specification is too large; the error names the key.
    pub fn read(spec: &v1::JobSpec) -> Result<Self, JobError> {
        // First, so that a key with an impossible value is named, however large it makes the whole.
        let checked = wire::from_proto(spec)?.validate()?;
        let encoded: Arc<[u8]> = spec.encode_to_vec().into();
        if encoded.len() > MAX_BYTES {
            let problem = format!("expected at most {MAX_BYTES} bytes, found {}", encoded.len());
            return Err(JobError::new("spec", &problem));
        }
        let digest = Digest::of(&encoded);
        Ok(Self { spec: checked, encoded, digest })
    }
}
