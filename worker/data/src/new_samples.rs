//! Samples that are to be predicted. They take the place of a data set's test split, so that they are prepared as the
//! job's own samples are, and need no labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files with new samples. Clones share whether they were taken.
#[derive(Clone, Debug)]
pub struct NewSamples {
    files: Arc<[PathBuf]>,
    taken: Arc<AtomicBool>,
}

impl NewSamples {
    /// New samples in these files, which may lie anywhere.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files: files.into(), taken: Arc::default() }
    }

    /// Whether a data set took them as its test split. One that knows nothing of new samples does not, and has its own.
    pub fn were_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// The files, for a data set that takes them.
    pub(crate) fn take(&self) -> impl Iterator<Item = &Path> {
        self.taken.store(true, Ordering::Relaxed);
        self.files.iter().map(PathBuf::as_path)
    }
}
