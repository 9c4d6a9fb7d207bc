//! What a folder of images contains: its classes, and the files of each.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use crate::loading::{Lent, Loading};
use crate::paths::resolve_folder;
use crate::report::{Findings, Reason};
use crate::{DataEnvironment, DataError, FileProblem, Split};

/// Bytes that a name takes in addition to its own, while the list of them grows.
const NAME: u64 = 128;
/// Endings of the names of image files.
const ENDINGS: [&str; 11] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff"];
/// Files and folders that systems and tools make for themselves, in addition to those whose names begin with a dot.
const FOREIGN: [&str; 9] = [
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
];

/// A folder of classes that a job names.
#[derive(Clone, Copy)]
pub(super) struct Listing<'a> {
    pub(super) environment: &'a DataEnvironment,
    pub(super) folder: &'a str,
    /// The job's key that names it.
    pub(super) key: &'a str,
    /// Whether images in subfolders of a class belong to it.
    pub(super) nested: bool,
    pub(super) split: Split,
}

/// An entry in the folder of a class.
pub(super) enum Entry {
    Image,
    /// An image in a subfolder, where these are not read.
    Nested,
    /// A file whose name does not end as that of an image, with its ending.
    Other(String),
    Foreign,
    LinkedFolder,
}

/// Names with their memory.
pub(super) struct Names {
    pub(super) names: Vec<String>,
    lent: Lent,
}

impl Names {
    pub(super) fn new(loading: &Loading) -> Result<Self, DataError> {
        Ok(Self { names: Vec::new(), lent: loading.lend(0)? })
    }

    pub(super) fn push(&mut self, name: &str) -> Result<(), DataError> {
        self.lent.grow(NAME + 2 * name.len() as u64)?;
        self.names.push(name.to_owned());
        Ok(())
    }
}

impl Listing<'_> {
    /// The names of the classes, sorted. Folders of systems and tools are none, nor are folders without any file; one
    /// with files of which none is an image is refused.
    pub(super) fn classes(&self, loading: &Loading, findings: &mut Findings) -> Result<Names, DataError> {
        let path = resolve_folder(&self.environment.root, self.folder, self.key)?;
        let mut classes = Names::new(loading)?;
        for entry in entries(&path).map_err(|problem| self.error(self.folder, problem))? {
            loading.check()?;
            let entry = entry.map_err(|error| self.error(self.folder, FileProblem::Io(error)))?;
            let name = text(&entry).map_err(|problem| self.error(self.folder, problem))?;
            let reason = match entry.path().is_dir() {
                _ if is_foreign(&name) => Some(Reason::Foreign),
                true if self.is_class(&name, loading)? => None,
                true => Some(Reason::EmptyFolder),
                false if is_image(&name) => Some(Reason::BesideClasses),
                false => Some(Reason::Ending(ending(&name))),
            };
            match reason {
                None => classes.push(&name)?,
                Some(reason) => findings.leave_out(self.split, reason, || name),
            }
        }
        classes.names.sort_unstable();
        Ok(classes)
    }

    /// Whether a folder has images; it has no file at all otherwise.
    fn is_class(&self, name: &str, loading: &Loading) -> Result<bool, DataError> {
        let path = format!("{}/{name}", self.folder);
        let (mut images, mut nested, mut others) = (0, 0, 0);
        self.visit(&path, loading, |entry, _| {
            match entry {
                Entry::Image => images += 1,
                Entry::Nested => nested += 1,
                Entry::Other(_) | Entry::LinkedFolder => others += 1,
                Entry::Foreign => {}
            }
            Ok(())
        })?;
        if images == 0 && nested + others > 0 {
            return Err(self.error(&path, FileProblem::NoImages { files: others, nested }));
        }
        Ok(images > 0)
    }

    /// Visits the entries of a class's folder and of its subfolders, with their names relative to it, in no order.
    pub(super) fn visit(
        &self,
        folder: &str,
        loading: &Loading,
        mut visit: impl FnMut(Entry, &str) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let found = resolve_folder(&self.environment.root, folder, self.key)?;
        let mut waiting: Vec<(PathBuf, String)> = vec![(found, String::new())];
        while let Some((path, prefix)) = waiting.pop() {
            for entry in entries(&path).map_err(|problem| self.error(folder, problem))? {
                loading.check()?;
                let entry = entry.map_err(|error| self.error(folder, FileProblem::Io(error)))?;
                let name = text(&entry).map_err(|problem| self.error(folder, problem))?;
                let kind = entry.file_type().map_err(|error| self.error(folder, FileProblem::Io(error)))?;
                let full = format!("{prefix}{name}");
                let found = match () {
                    () if is_foreign(&name) => Entry::Foreign,
                    // A link is not followed to a folder: it could lead around in a circle.
                    () if kind.is_symlink() && entry.path().is_dir() => Entry::LinkedFolder,
                    () if kind.is_dir() => {
                        waiting.push((entry.path(), format!("{full}/")));
                        continue;
                    }
                    () if !is_image(&name) => Entry::Other(ending(&name)),
                    () if self.nested || prefix.is_empty() => Entry::Image,
                    () => Entry::Nested,
                };
                visit(found, &full)?;
            }
        }
        Ok(())
    }

    fn error(&self, folder: &str, problem: FileProblem) -> DataError {
        DataError::File { file: folder.to_owned(), problem }
    }
}

fn entries(path: &Path) -> Result<std::fs::ReadDir, FileProblem> {
    std::fs::read_dir(path).map_err(FileProblem::Io)
}

/// The name of an entry, which must be text.
fn text(entry: &DirEntry) -> Result<String, FileProblem> {
    entry.file_name().into_string().map_err(|name| {
        let (place, expected) = ("name".to_owned(), "UTF-8".to_owned());
        FileProblem::Cell { place, found: format!("{name:?}"), expected }
    })
}

fn is_foreign(name: &str) -> bool {
    name.starts_with('.') || FOREIGN.contains(&name)
}

/// The ending of a name in lower case; empty if it has none.
fn ending(name: &str) -> String {
    Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default().to_lowercase()
}

/// Whether a name ends as that of an image.
pub(crate) fn is_image(name: &str) -> bool {
    ENDINGS.contains(&ending(name).as_str())
}

/// The endings of images as a list, for errors.
pub(crate) fn endings() -> String {
    ENDINGS.map(|ending| format!(".{ending}")).join(", ")
}
