//! Data sets whose files have fixed names: a job names the folder that contains them, or the files themselves.

use lookbehind_common::job::JobError;

/// Locations of the files of such a data set; `T` are the files of a split.
#[derive(Debug, PartialEq)]
pub(super) enum Files<T> {
    /// All files are in this folder, under their original names.
    In { folder: String },
    /// The job names the files. If it names no test files, there is no test split: original names in the folder of the
    /// training files might belong to other data.
    Named { train: T, test: Option<T> },
}

impl<T> Files<T> {
    /// From the keys `folder`, `train` and `test` of `[data]`.
    pub(super) fn new(folder: Option<String>, train: Option<T>, test: Option<T>) -> Result<Self, JobError> {
        match (folder, train, test) {
            (None, Some(train), test) => Ok(Self::Named { train, test }),
            (None, None, Some(_)) => {
                Err(JobError::new("data.train", "is required where data.test names its files"))
            }
            (folder, None, None) => Ok(Self::In { folder: folder.unwrap_or_default() }),
            (Some(_), _, _) => {
                let problem = "has no meaning where data.train or data.test name their files; remove it";
                Err(JobError::new("data.folder", problem))
            }
        }
    }
}

/// The path of a file in a folder that a job names; the empty folder is the data folder itself.
pub(super) fn in_folder(folder: &str, name: &str) -> String {
    match folder.trim_end_matches('/') {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests;
