//! Image files that are to be classified: they are brought to the form of the training split.

use super::{Collector, Encoded};
use crate::report::Change;
use crate::source::{Content, Source};
use crate::{DataError, FileProblem, Split};

/// Most images that are decoded at once, and about how many bytes of their files.
const IMAGES: usize = 1024;
const BYTES: u64 = 1 << 23;

/// A file that was read, with its memory.
type Read<'a> = (&'a Source, Content);

impl Collector {
    /// Reads image files as the test split, of class 0; returns how they are called in errors.
    pub(super) fn read_new(&mut self, files: &[Source]) -> Result<String, DataError> {
        self.fixed = true;
        let loading = self.loading.clone();
        let (mut read, mut held): (Vec<Read<'_>>, u64) = (Vec::new(), 0);
        for file in files {
            loading.check()?;
            let length = file.length()?;
            if read.len() >= IMAGES || held + length > BYTES {
                self.decode_new(&read)?;
                (read, held) = (Vec::new(), 0);
            }
            read.push((file, file.content(&loading)?));
            held += length;
        }
        self.decode_new(&read)?;
        self.findings.convert(Change::Unlabelled, files.len() as u64);
        Ok(Source::names(files))
    }

    fn decode_new(&mut self, read: &[Read<'_>]) -> Result<(), DataError> {
        let encoded: Vec<Encoded<'_>> =
            read.iter().map(|(_, content)| Encoded { bytes: content.as_ref(), label: 0 }).collect();
        let name = |place: usize| read[place].0.name().to_owned();
        self.extend(Split::Test, &encoded, name).map_err(|rejected| {
            rejected.into_error(|place, problem| read[place].0.error(FileProblem::image("image", problem)))
        })
    }
}
