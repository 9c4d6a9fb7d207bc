//! Folders that only their owner can enter. Their content is reached through the opened folder and never through a link,
//! because the holder of credentials may be able to write into its own folder.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::IdentityError;

/// Permissions of folders.
const FOLDER: u32 = 0o700;
/// Set on folders such as `/tmp`, which everybody shares.
const STICKY: u32 = 0o1000;
/// Permissions of the group and of others.
const OTHERS: u32 = 0o077;
/// A longer file is refused: someone may have put it there to fill the memory.
const LONGEST: u64 = 4 << 20;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Secrecy {
    Private,
    Public,
}

impl Secrecy {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// A file or folder that was accessible to others until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tightened {
    /// The file or folder.
    pub path: PathBuf,
    /// The permissions that it had.
    pub before: u32,
    /// The permissions that it has now.
    pub now: u32,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    path: PathBuf,
    handle: File,
}

impl PrivateFolder {
    /// Opens the folder at `path`, which may be a link because the caller chose it, or creates it.
    pub(super) fn create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Write { path: path.to_owned(), source };
        let new = !path.exists();
        DirBuilder::new().recursive(true).mode(FOLDER).create(path).map_err(failed)?;
        let folder = Self { path: path.to_owned(), handle: File::open(path).map_err(failed)? };
        if new { folder.made() } else { Ok(folder) }
    }

    /// A folder in this one, which is created if it is missing.
    pub(super) fn make(&self, name: &str) -> Result<Self, IdentityError> {
        let made = match rustix::fs::mkdirat(&self.handle, name, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true).map_err(|error| self.unwritable(name, error))?,
        };
        let folder = self.folder(name)?.ok_or_else(|| self.unwritable(name, Errno::NOENT))?;
        if made { folder.made() } else { Ok(folder) }
    }

    /// Sets the permissions of a new folder, which the umask may have narrowed.
    fn made(self) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Write { path: self.path.clone(), source };
        self.handle.set_permissions(Permissions::from_mode(FOLDER)).map_err(failed)?;
        Ok(self)
    }

    /// A folder in this one; `None` if there is none.
    pub(super) fn folder(&self, name: &str) -> Result<Option<Self>, IdentityError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { path, handle: handle.into() })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(IdentityError::content(&path, "a folder", self.found(name)))
            }
            Err(error) => Err(IdentityError::Read { path, source: error.into() }),
        }
    }

    /// Path of a file in this folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What a name in this folder stands for; `None` if it stands for nothing.
    pub(super) fn kind(&self, name: &str) -> Option<FileType> {
        let stat = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// The names in this folder.
    pub(super) fn names(&self) -> Result<Vec<String>, IdentityError> {
        let failed = |error: Errno| IdentityError::Read { path: self.path.clone(), source: error.into() };
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The text of a file; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, IdentityError> {
        let Some(file) = self.opened(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| IdentityError::Read { path: self.file(name), source })?;
        let unsound = |found| IdentityError::content(&self.file(name), "a short text", found);
        if bytes.len() as u64 > LONGEST {
            return Err(unsound(format!("more than {LONGEST} bytes")));
        }
        // The error must not repeat the content, which may be a secret.
        String::from_utf8(bytes).map(Some).map_err(|_| unsound("something else".into()))
    }

    fn opened(&self, name: &str) -> Result<Option<File>, IdentityError> {
        // Without `NONBLOCK`, a pipe would let this process wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |source| IdentityError::Read { path: self.file(name), source };
        let odd = || IdentityError::content(&self.file(name), "a plain file", self.found(name));
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(odd()),
            Err(error) => return Err(failed(error.into())),
        };
        let plain = file.metadata().map_err(failed)?.is_file();
        if plain { Ok(Some(file)) } else { Err(odd()) }
    }

    fn found(&self, name: &str) -> &'static str {
        match self.kind(name) {
            Some(FileType::Symlink) => "a symbolic link, which is not followed",
            Some(FileType::Directory) => "a folder",
            Some(FileType::RegularFile) => "a file",
            _ => "something else",
        }
    }

    /// Writes a file atomically, in the place of whatever has the name.
    pub(super) fn write(&self, name: &str, content: &str, secrecy: Secrecy) -> Result<(), IdentityError> {
        let new = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = || {
            // Left from an interrupted call, or planted. If it cannot be removed, the next line fails.
            let _ = rustix::fs::unlinkat(&self.handle, &new, AtFlags::empty());
            let handle = rustix::fs::openat(&self.handle, &new, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(handle);
            // Whatever the umask has made of them.
            file.set_permissions(Permissions::from_mode(secrecy.mode()))?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            rustix::fs::renameat(&self.handle, &new, &self.handle, name)?;
            self.handle.sync_all()
        };
        written().map_err(|source| IdentityError::Write { path: self.file(name), source })
    }

    /// Takes the permissions of others from the folder and from those of these files that are there.
    pub(super) fn tighten(&self, private: &[&str]) -> Result<Vec<Tightened>, IdentityError> {
        let mut tightened = Vec::new();
        tightened.extend(narrow(&self.handle, FOLDER, &self.path)?);
        for name in private {
            if self.kind(name) == Some(FileType::RegularFile)
                && let Some(file) = self.opened(name)?
            {
                tightened.extend(narrow(&file, Secrecy::Private.mode(), &self.file(name))?);
            }
        }
        Ok(tightened)
    }

    fn unwritable(&self, name: &str, error: Errno) -> IdentityError {
        IdentityError::Write { path: self.path.join(name), source: error.into() }
    }
}

/// Sets the permissions of a file or folder if others have any.
fn narrow(file: &File, now: u32, path: &Path) -> Result<Option<Tightened>, IdentityError> {
    let failed = |source| IdentityError::Write { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    let before = metadata.permissions().mode() & 0o7777;
    if before & OTHERS == 0 {
        return Ok(None);
    }
    if before & STICKY != 0 && metadata.is_dir() {
        return Err(IdentityError::content(
            path,
            "a folder for credentials only",
            "one that everybody shares",
        ));
    }
    if metadata.is_file() && metadata.nlink() > 1 {
        // With a hard link, a holder could have the permissions of another file changed.
        return Err(IdentityError::content(
            path,
            "a private file with one name",
            "a file with several names",
        ));
    }
    file.set_permissions(Permissions::from_mode(now)).map_err(failed)?;
    Ok(Some(Tightened { path: path.to_owned(), before, now }))
}
