//! Where a job's files are: in the data folder, remote, or within an archive, which stands in a path as a folder does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::job::JobError;

use super::archive::{Archive, within};
use super::loading::{Lent, Loading};
use super::paths::resolve_folder;
use super::source::{Paths, Source};
use super::{DataEnvironment, DataError, FileProblem, is_url, paths, patterns};

/// Finds what a job names. Each archive is opened once.
pub(crate) struct Places<'a> {
    environment: &'a DataEnvironment,
    loading: &'a Loading,
    /// By their names; `None` for files that are no archives.
    opened: RefCell<BTreeMap<String, Option<Arc<Archive>>>>,
    /// Whether a member of a compressed archive may be asked for.
    wanted: fn(&str) -> bool,
}

/// A folder, on the disk or in an archive.
pub(crate) enum Tree<'a> {
    Folder { places: &'a Places<'a>, path: String, key: &'a str },
    Packed { archive: Arc<Archive>, folder: String },
}

/// Names in a folder with their kinds, sorted, and their memory.
pub(crate) struct Items {
    pub(crate) items: Vec<Item>,
    _lent: Lent,
}

/// An entry in a folder.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) kind: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File,
    Folder,
    LinkedFolder,
}

/// Bytes that an item takes in addition to its name.
const ITEM: u64 = 64;

impl<'a> Places<'a> {
    /// `wanted` tells of members of archives whether they may be asked for.
    pub(crate) fn new(
        environment: &'a DataEnvironment,
        loading: &'a Loading,
        wanted: fn(&str) -> bool,
    ) -> Self {
        Self { environment, loading, opened: RefCell::default(), wanted }
    }

    /// Finds a file, also in an archive.
    pub(crate) fn file(&self, name: &str, key: &str) -> Result<Source, DataError> {
        let plain = Source::find(self.environment, name, key);
        let Err(error) = plain else { return plain };
        match self.packed(name, key)? {
            Some((archive, inner)) if archive.has_file(&inner) => Ok(Source::packed(archive, inner)),
            Some((archive, inner)) => Err(missing(&archive, &inner)),
            None => Err(error),
        }
    }

    /// Finds several files; at least one must be named. A name may be a pattern.
    pub(crate) fn files(&self, names: &Paths, key: &str) -> Result<Vec<Source>, DataError> {
        let names = patterns::expanded(self.environment, names.as_slice(), key)?;
        names.iter().map(|name| self.file(name, key)).collect()
    }

    /// Finds several files, as [`Self::files`]. An archive by itself stands for its only file that is `wanted`.
    pub(crate) fn files_or_only(
        &self,
        names: &Paths,
        key: &str,
        wanted: fn(&str) -> bool,
    ) -> Result<Vec<Source>, DataError> {
        if names.as_slice().is_empty() {
            return Err(JobError::new(key, "expected at least one path, found none").into());
        }
        let names = patterns::expanded(self.environment, names.as_slice(), key)?;
        let find = |name: &String| {
            let file = self.file(name, key)?;
            if file.is_packed() {
                return Ok(file);
            }
            let Some(archive) = self.opened(name, key)? else { return Ok(file) };
            match archive.files(wanted)[..] {
                [only] => Ok(Source::packed(Arc::clone(&archive), only.to_owned())),
                ref several => {
                    let expected = format!("one, or a path such as {:?}", within(name, "NAME"));
                    let expected = format!("{expected}; there are {}", archive.listed());
                    let problem = FileProblem::Count { what: "tables", found: several.len(), expected };
                    Err(file.error(problem))
                }
            }
        };
        names.iter().map(find).collect()
    }

    /// Finds a folder: one of the disk, an archive, or one in an archive.
    pub(crate) fn tree(&'a self, name: &str, key: &'a str) -> Result<Tree<'a>, DataError> {
        if !is_url(name) {
            let folder = resolve_folder(self.environment, name, key);
            let Err(error) = folder else {
                return Ok(Tree::Folder { places: self, path: without_slash(name).to_owned(), key });
            };
            let Some((archive, inner)) = self.packed(name, key)? else { return Err(error) };
            if !archive.has_folder(&inner) {
                return Err(missing(&archive, &inner));
            }
            return Ok(Tree::Packed { archive, folder: inner });
        }
        match self.opened(name, key)? {
            Some(archive) => Ok(Tree::Packed { archive, folder: String::new() }),
            None => Err(DataError::File { file: name.to_owned(), problem: FileProblem::NotFolder }),
        }
    }

    /// The archive that a path leads into, and the path in it; the empty one is the archive itself.
    fn packed(&self, name: &str, key: &str) -> Result<Option<(Arc<Archive>, String)>, DataError> {
        if is_url(name) {
            return Ok(None);
        }
        let ends = name.char_indices().filter(|(_, sign)| *sign == '/').map(|(end, _)| end);
        for end in ends.chain([name.len()]).filter(|end| *end > 0) {
            let (outer, inner) = name.split_at(end);
            if paths::resolve_in(self.environment, outer, key).is_err() {
                continue;
            }
            let inner = inner.split('/').filter(|part| !part.is_empty() && *part != ".");
            let inner = inner.collect::<Vec<_>>().join("/");
            return Ok(self.opened(outer, key)?.map(|archive| (archive, inner)));
        }
        Ok(None)
    }

    fn opened(&self, name: &str, key: &str) -> Result<Option<Arc<Archive>>, DataError> {
        if let Some(known) = self.opened.borrow().get(name) {
            return Ok(known.clone());
        }
        let source = Source::find(self.environment, name, key)?;
        let archive = Archive::open(source, self.loading, self.wanted)?.map(Arc::new);
        self.opened.borrow_mut().insert(name.to_owned(), archive.clone());
        Ok(archive)
    }
}

/// The error for a path that an archive does not have.
fn missing(archive: &Archive, path: &str) -> DataError {
    archive.source().error(FileProblem::NotInArchive { path: path.to_owned(), present: archive.listed() })
}

impl Tree<'_> {
    /// What lies at the top, for errors; only archives say it, as nobody sees into them.
    pub(crate) fn listed(&self) -> Option<String> {
        match self {
            Self::Folder { .. } => None,
            Self::Packed { archive, .. } => Some(archive.listed()),
        }
    }

    /// The name of something in it, as a job would name it.
    pub(crate) fn name(&self, path: &str) -> String {
        match self {
            Self::Folder { path: folder, .. } => within(folder, path),
            Self::Packed { archive, folder } => within(archive.source().name(), &within(folder, path)),
        }
    }

    /// The archive that it is in, if it is in one.
    pub(crate) fn archive(&self) -> Option<&Source> {
        match self {
            Self::Folder { .. } => None,
            Self::Packed { archive, .. } => Some(archive.source()),
        }
    }

    /// Where a folder in it is on the disk, if it is in no archive.
    pub(crate) fn on_disk(&self, path: &str) -> Result<Option<PathBuf>, DataError> {
        match self {
            Self::Folder { places, key, .. } => {
                resolve_folder(places.environment, &self.name(path), key).map(Some)
            }
            Self::Packed { .. } => Ok(None),
        }
    }

    /// A file in it.
    pub(crate) fn file(&self, path: &str) -> Result<Source, DataError> {
        match self {
            Self::Folder { places, key, .. } => Source::find(places.environment, &self.name(path), key),
            Self::Packed { archive, folder } => Ok(Source::packed(Arc::clone(archive), within(folder, path))),
        }
    }

    /// The entries of a folder in it, in the order of their names; the empty path is itself.
    pub(crate) fn entries(&self, path: &str, loading: &Loading) -> Result<Items, DataError> {
        let mut lent = loading.lend(0)?;
        let mut items = Vec::new();
        match self {
            Self::Folder { places, key, .. } => {
                let name = self.name(path);
                let error = |problem| DataError::File { file: name.clone(), problem };
                let io = |cause| error(FileProblem::Io(cause));
                let folder = resolve_folder(places.environment, &name, key)?;
                for entry in std::fs::read_dir(folder).map_err(io)? {
                    loading.check()?;
                    let item = Item::of(&entry.map_err(io)?).map_err(error)?;
                    lent.grow(ITEM + 2 * item.name.len() as u64)?;
                    items.push(item);
                }
                items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            }
            Self::Packed { archive, folder } => {
                for entry in archive.entries(&within(folder, path)) {
                    lent.grow(ITEM + 2 * entry.name.len() as u64)?;
                    let kind = if entry.is_folder { ItemKind::Folder } else { ItemKind::File };
                    items.push(Item { name: entry.name.to_owned(), kind });
                }
            }
        }
        Ok(Items { items, _lent: lent })
    }
}

/// A folder's name without the slash that may end it.
fn without_slash(name: &str) -> &str {
    let trimmed = name.trim_end_matches('/');
    if trimmed.is_empty() { name } else { trimmed }
}

impl Item {
    fn of(entry: &std::fs::DirEntry) -> Result<Self, FileProblem> {
        let name = entry.file_name().into_string().map_err(|name| {
            let (place, expected) = ("name".to_owned(), "UTF-8".to_owned());
            FileProblem::Cell { place, found: format!("{name:?}"), expected }
        })?;
        let kind = entry.file_type().map_err(FileProblem::Io)?;
        let kind = match () {
            () if kind.is_dir() => ItemKind::Folder,
            () if kind.is_symlink() && entry.path().is_dir() => ItemKind::LinkedFolder,
            () => ItemKind::File,
        };
        Ok(Self { name, kind })
    }
}
