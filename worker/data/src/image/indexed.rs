//! Data sets that are not decoded into memory. The images, as they are in their files, are gathered into one file, the
//! records, when the data are read first; an index in memory says where each is, and what its digest must be. Images are
//! decoded when samples are asked for.
//!
//! Index and records stay in the cache, so that the data are read once. Nobody has to believe them: a record is checked
//! against its digest each time it is read, and the digests are what workers compare.

mod dataset;
mod fingerprint;
mod kept;
mod record;
mod writer;

use lookbehind_common::digest::Digest;

use super::form::Form;
use super::parameters::FormParameters;
use crate::DataError;
use crate::loading::Loading;
use crate::report::Notes;
use crate::samples::Samples;
use dataset::Indexed;
pub(super) use kept::name;
pub(super) use record::Record;
pub(super) use writer::{NewRecord, Writer};

/// Bytes that an image takes in memory, with its label.
pub(super) const IMAGE: u64 = (size_of::<Record>() + size_of::<u32>()) as u64;

/// The images of both splits while they are gathered.
pub(super) struct Gathered {
    pub(super) writer: Writer,
    pub(super) splits: [Samples<Record>; 2],
}

/// What a finished index says of a data set, in addition to its records.
pub(super) struct Contents {
    pub(super) form: Form,
    pub(super) classes: usize,
    pub(super) notes: Notes,
    pub(super) splits: [Samples<Record>; 2],
}

impl Gathered {
    pub(super) fn new(loading: &Loading) -> Result<Self, DataError> {
        Ok(Self { writer: Writer::new(loading)?, splits: [Samples::new(1), Samples::new(1)] })
    }

    /// The data set of what was gathered; it is kept under a name, if there is one.
    pub(super) fn into_dataset(
        self,
        parameters: &FormParameters,
        (form, classes): (Form, usize),
        notes: Notes,
        name: Option<&Digest>,
        loading: &Loading,
    ) -> Result<Indexed, DataError> {
        let contents = Contents { form, classes, notes, splits: self.splits };
        let records = self.writer.finish(&contents, name)?;
        Indexed::new(records, contents, parameters.fingerprint(), loading)
    }
}

/// The data set that is kept under a name, if there is one.
///
/// # Errors
/// When it does not fit into memory, or an image that is decoded for its fingerprint cannot be used.
pub(super) fn find(
    name: &Digest,
    parameters: &FormParameters,
    loading: &Loading,
) -> Result<Option<Indexed>, DataError> {
    let Some(cached) = loading.cache().and_then(|cache| cache.find(&name.to_string(), None)) else {
        return Ok(None);
    };
    match kept::read(cached, parameters, loading)? {
        Some((records, contents)) => {
            Indexed::new(records, contents, parameters.fingerprint(), loading).map(Some)
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
