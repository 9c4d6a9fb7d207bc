//! The files of an authority, which are replaced as a whole or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::IdentityError;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Secrecy {
    Private,
    Public,
}

pub(super) fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

pub(super) fn make_folder(path: &Path) -> Result<(), IdentityError> {
    fs::create_dir_all(path).map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}

/// Writes a file atomically.
pub(super) fn write(path: &Path, content: &str, secrecy: Secrecy) -> Result<(), IdentityError> {
    let mode = match secrecy {
        Secrecy::Private => 0o600,
        Secrecy::Public => 0o644,
    };
    let new = path.with_extension("new");
    let written = || {
        // `mode` applies to new files only, so a file left from an interrupted call is removed first.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}
