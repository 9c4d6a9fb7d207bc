//! What tells whether data files are still those that were read before, without reading them: names, lengths and times.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use lookbehind_common::digest::Digest;
use lookbehind_common::job::Parameters;

/// Of all files of a data set, and of what a job says of them.
pub(crate) struct Stamp(blake3::Hasher);

impl Stamp {
    /// Of a data set of this kind with these keys, of which no file is noted yet.
    pub(crate) fn new(kind: &str, parameters: &Parameters) -> Self {
        let mut stamp = Self(blake3::Hasher::new());
        stamp.text(kind);
        stamp.text(&serde_json::Value::from(parameters.clone()).to_string());
        stamp
    }

    /// Notes a name.
    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    /// Notes a file. Its time of change says that it was written also where its time of modification was set back.
    pub(crate) fn file(&mut self, found: &Metadata) {
        self.number(found.len());
        for time in [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()] {
            self.number(time.cast_unsigned());
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
}
