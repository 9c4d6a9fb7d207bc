//! Archives as data are distributed in them: zip, and tar as it is or compressed with gzip or zstandard. Nothing is unpacked
//! to the disk. Names are indexed once; the contents of zip and plain tar are read from where they lie in the file. A
//! compressed tar can only be read from its beginning, so the contents that are wanted stay in memory, within its limit.

mod kind;
mod names;
mod tar_file;
mod zip_directory;
mod zip_file;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::loading::{Lent, Loading};
use crate::source::Source;
use crate::{DataError, FileProblem};

use kind::Kind;
use zip_file::Zip;

pub(crate) use tar_file::{Content, visit};

/// Bytes of memory that a member takes in addition to its name.
const MEMBER: u64 = 160;

/// An archive whose names have been read.
pub(crate) struct Archive {
    source: Source,
    /// By their paths; those of folders end in a slash.
    members: BTreeMap<String, Member>,
    zip: Option<Zip>,
    /// The memory of names and contents.
    lent: Lent,
}

/// Where the content of a member is.
#[derive(Clone)]
enum Member {
    /// A folder of its own entry.
    Folder,
    /// In the archive's file, as it is.
    At { offset: u64, length: u64 },
    /// In a zip archive.
    Zipped { index: usize, length: u64 },
    /// In memory.
    Held(Arc<Vec<u8>>),
    /// Nowhere: it was not wanted.
    Dropped,
}

/// An entry in a folder of an archive.
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_folder: bool,
}

impl Archive {
    /// Reads the names in a file; `None` if it is no archive. Of a compressed tar, the contents are kept of those members
    /// whose paths are `wanted`.
    ///
    /// # Errors
    /// When the file is damaged, encrypted or of a kind that is not read, when a member is no file or folder or has a name
    /// that leads out of the archive, when two have the same, or when memory does not suffice.
    pub(crate) fn open(
        source: Source,
        loading: &Loading,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>, DataError> {
        let Some(kind) = Kind::of(&source, loading)? else { return Ok(None) };
        let mut archive = Self { source, members: BTreeMap::new(), zip: None, lent: loading.lend(0)? };
        match kind {
            Kind::Zip => archive.index_zip(loading)?,
            Kind::Tar { is_compressed } => archive.index_tar(is_compressed, loading, wanted)?,
        }
        Ok(Some(archive))
    }

    fn index_zip(&mut self, loading: &Loading) -> Result<(), DataError> {
        let source = self.source.clone();
        let mut zip = Zip::open(&source, loading)?;
        for index in 0..zip.len() {
            loading.check()?;
            let entry = zip.entry(index).map_err(|problem| source.error(problem))?;
            let member = match entry.is_folder {
                true => Member::Folder,
                false => Member::Zipped { index, length: entry.length },
            };
            self.add(&entry.name, member)?;
        }
        self.zip = Some(zip);
        Ok(())
    }

    fn index_tar(
        &mut self,
        is_compressed: bool,
        loading: &Loading,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), DataError> {
        let source = self.source.clone();
        // A plain one is skipped through, so its length is what tells whether a content is whole.
        let file = if is_compressed { u64::MAX } else { source.length()? };
        let reader = source.reader(loading)?;
        visit(&source, reader, |name, content| {
            loading.check()?;
            let member = match content {
                Content::Folder => Member::Folder,
                Content::File { length, offset, .. } if !is_compressed => {
                    if offset.saturating_add(length) > file {
                        return Err(source.error(cut(name, file.saturating_sub(offset), length)));
                    }
                    Member::At { offset, length }
                }
                Content::File { .. } if !wanted(name) => Member::Dropped,
                Content::File { length, reader, .. } => {
                    self.lent.grow(length)?;
                    let bytes =
                        read_exactly(reader, name, length).map_err(|problem| source.error(problem))?;
                    Member::Held(Arc::new(bytes))
                }
            };
            self.add(name, member)
        })
    }

    /// Adds a member under a path that has been checked.
    fn add(&mut self, path: &str, member: Member) -> Result<(), DataError> {
        self.lent.grow(MEMBER + path.len() as u64)?;
        let is_folder = matches!(member, Member::Folder);
        let path = if is_folder { format!("{path}/") } else { path.to_owned() };
        match self.members.entry(path) {
            // Folders are often entered more than once, and the archive itself may be.
            Entry::Occupied(_) if is_folder => Ok(()),
            Entry::Occupied(twice) => {
                let problem = "is there more than once, expected different names";
                Err(self.source.error(FileProblem::member(twice.key(), problem)))
            }
            Entry::Vacant(place) => {
                place.insert(member);
                Ok(())
            }
        }
    }

    /// The file that the archive is.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether a path is that of a file.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.members.contains_key(path)
    }

    /// Whether a path is that of a folder; the empty one is the archive itself.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        path.is_empty() || self.below(path).next().is_some()
    }

    /// The entries in a folder, in the order of their names.
    pub(crate) fn entries(&self, folder: &str) -> Vec<Listed<'_>> {
        let prefix = prefix_of(folder);
        let mut found: Vec<Listed<'_>> = Vec::new();
        let mut next = prefix.clone();
        while let Some((path, _)) = self.members.range(next.clone()..).next() {
            let Some(rest) = path.strip_prefix(&prefix) else { break };
            match rest.split_once('/') {
                // The folder's own entry.
                None if rest.is_empty() => next = format!("{path}\0"),
                None => {
                    found.push(Listed { name: rest, is_folder: false });
                    next = format!("{path}\0");
                }
                Some((name, _)) => {
                    found.push(Listed { name, is_folder: true });
                    // '0' follows '/': behind everything in that folder.
                    next = format!("{prefix}{name}0");
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(b.name));
        found
    }

    fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = prefix_of(folder);
        let paths = self.members.range(prefix.clone()..).map(|(path, _)| path.as_str());
        paths.take_while(move |path| path.starts_with(&prefix))
    }

    /// Length of a member's content in bytes.
    pub(crate) fn length(&self, path: &str) -> Result<u64, DataError> {
        match self.member(path)? {
            Member::At { length, .. } | Member::Zipped { length, .. } => Ok(*length),
            Member::Held(bytes) => Ok(bytes.len() as u64),
            Member::Folder | Member::Dropped => Err(self.no_content(path)),
        }
    }

    /// The content of a member. The caller has charged as many bytes as [`Self::length`] gives.
    pub(crate) fn read(&self, path: &str, loading: &Loading) -> Result<Arc<Vec<u8>>, DataError> {
        let in_file = |problem| self.source.error(problem);
        match self.member(path)? {
            Member::Held(bytes) => Ok(Arc::clone(bytes)),
            &Member::At { offset, length } => {
                let mut file = loading.watch(self.source.open()?);
                file.seek(SeekFrom::Start(offset)).map_err(|error| in_file(FileProblem::Io(error)))?;
                read_exactly(&mut file, path, length).map(Arc::new).map_err(in_file)
            }
            &Member::Zipped { index, length } => {
                let zip = self.zip.as_ref().ok_or_else(|| self.no_content(path))?;
                zip.read(index, path, length, loading).map(Arc::new).map_err(in_file)
            }
            Member::Folder | Member::Dropped => Err(self.no_content(path)),
        }
    }

    /// The files whose paths are `wanted`.
    pub(crate) fn files(&self, wanted: fn(&str) -> bool) -> Vec<&str> {
        let files = self.members.iter().filter(|(_, member)| !matches!(member, Member::Folder));
        files.map(|(path, _)| path.as_str()).filter(|path| wanted(path)).collect()
    }

    fn member(&self, path: &str) -> Result<&Member, DataError> {
        self.members.get(path).ok_or_else(|| self.no_content(path))
    }

    fn no_content(&self, path: &str) -> DataError {
        self.source.error(FileProblem::NotInArchive { path: path.to_owned(), present: self.listed() })
    }

    /// What lies at the top of the archive, and within it while that is a single folder, for errors.
    pub(crate) fn listed(&self) -> String {
        const SHOWN: usize = 10;
        let mut folder = String::new();
        loop {
            let entries = self.entries(&folder);
            if let [Listed { name, is_folder: true }] = entries[..] {
                folder = within(&folder, name);
                continue;
            }
            let shown = entries.iter().take(SHOWN).map(|entry| format!("{:?}", within(&folder, entry.name)));
            let more = if entries.len() > SHOWN { ", …" } else { "" };
            return format!("{}{more}", shown.collect::<Vec<_>>().join(", "));
        }
    }
}

/// What the paths of everything in a folder begin with.
fn prefix_of(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

/// The path of something in a folder; either may be empty, and is the other one then.
pub(crate) fn within(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", only) | (only, "") => only.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// Reads the content of a member, whose bytes have been charged.
fn read_exactly(reader: &mut dyn Read, name: &str, length: u64) -> Result<Vec<u8>, FileProblem> {
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(FileProblem::Io)?;
    if (bytes.len() as u64) < length {
        return Err(cut(name, bytes.len() as u64, length));
    }
    Ok(bytes)
}

fn cut(name: &str, found: u64, expected: u64) -> FileProblem {
    FileProblem::Cut { what: format!("its member {name:?}"), found, expected }
}

#[cfg(test)]
mod tests;
