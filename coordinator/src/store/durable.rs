//! Writing so that a crash leaves the old or the new, never something between.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::StoreError;

/// Makes a folder's entries durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    sync_file(path)
}

/// Makes a file's content durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path))
}

/// Writes a new file durably: temporary name, fsync, rename, fsync of the folder.
pub(crate) fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = folder.join(format!(".{name}.tmp"));
    File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(StoreError::io(&temporary))?;
    std::fs::rename(&temporary, folder.join(name)).map_err(StoreError::io(&temporary))?;
    sync_folder(folder)
}
