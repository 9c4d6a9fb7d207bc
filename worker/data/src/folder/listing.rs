//! What a folder of images contains: its classes, and the files of each.

use std::ffi::OsStr;
use std::path::Path;

use crate::archive::within;
use crate::loading::{Lent, Loading};
use crate::places::{Item, ItemKind, Tree};
use crate::report::{Findings, Reason};
use crate::stamp::Stamp;
use crate::{DataError, FileProblem, Split};

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
    pub(super) tree: &'a Tree<'a>,
    /// As the job names it.
    pub(super) folder: &'a str,
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
        let mut classes = Names::new(loading)?;
        for item in self.tree.entries("", loading)?.items {
            let name = item.name;
            let reason = match item.kind {
                _ if is_foreign(&name) => Some(Reason::Foreign),
                ItemKind::File if is_image(&name) => Some(Reason::BesideClasses),
                ItemKind::File => Some(Reason::Ending(ending(&name))),
                ItemKind::Folder | ItemKind::LinkedFolder if self.is_class(&name, loading)? => None,
                ItemKind::Folder | ItemKind::LinkedFolder => Some(Reason::EmptyFolder),
            };
            match reason {
                None => classes.push(&name)?,
                Some(reason) => findings.leave_out(self.split, reason, || name),
            }
        }
        Ok(classes)
    }

    /// Notes what tells whether anything in it has changed; of an archive, whether that has.
    pub(super) fn stamp(&self, loading: &Loading, stamp: &mut Stamp) -> Result<(), DataError> {
        if let Some(archive) = self.tree.archive() {
            return archive.stamp(stamp);
        }
        for Item { name: class, kind } in self.tree.entries("", loading)?.items {
            stamp.text(&class);
            if kind == ItemKind::File || is_foreign(&class) {
                continue;
            }
            let Some(folder) = self.tree.on_disk(&class)? else { continue };
            self.visit(&class, loading, |entry, name| {
                stamp.text(name);
                let Entry::Image = entry else { return Ok(()) };
                let found = std::fs::metadata(folder.join(name)).map_err(|error| DataError::File {
                    file: self.tree.name(&within(&class, name)),
                    problem: FileProblem::Io(error),
                })?;
                stamp.file(&found);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether a folder has images; it has no file at all otherwise.
    fn is_class(&self, name: &str, loading: &Loading) -> Result<bool, DataError> {
        let (mut images, mut nested, mut others) = (0, 0, 0);
        self.visit(name, loading, |entry, _| {
            match entry {
                Entry::Image => images += 1,
                Entry::Nested => nested += 1,
                Entry::Other(_) | Entry::LinkedFolder => others += 1,
                Entry::Foreign => {}
            }
            Ok(())
        })?;
        if images == 0 && nested + others > 0 {
            let problem = FileProblem::NoImages { files: others, nested };
            return Err(DataError::File { file: self.tree.name(name), problem });
        }
        Ok(images > 0)
    }

    /// Visits the entries of a class's folder and of its subfolders, with their names relative to it. Those of one folder
    /// are in the order of their names.
    pub(super) fn visit(
        &self,
        class: &str,
        loading: &Loading,
        mut visit: impl FnMut(Entry, &str) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut waiting = vec![String::new()];
        while let Some(folder) = waiting.pop() {
            loading.check()?;
            for item in self.tree.entries(&within(class, &folder), loading)?.items {
                let full = within(&folder, &item.name);
                let found = match item.kind {
                    _ if is_foreign(&item.name) => Entry::Foreign,
                    // Not followed: it could lead around in a circle.
                    ItemKind::LinkedFolder => Entry::LinkedFolder,
                    ItemKind::Folder => {
                        waiting.push(full);
                        continue;
                    }
                    ItemKind::File if !is_image(&item.name) => Entry::Other(ending(&item.name)),
                    ItemKind::File if self.nested || folder.is_empty() => Entry::Image,
                    ItemKind::File => Entry::Nested,
                };
                visit(found, &full)?;
            }
        }
        Ok(())
    }
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
