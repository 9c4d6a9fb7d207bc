//! Durable writes: after a crash a file has its old or its new content, never a mixture.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::StoreError;

/// Makes the entries of a folder durable: names that were created, renamed or removed in it.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    sync_file(path)
}

/// Makes the content of a file durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path))
}

/// Writes a file durably: temporary name, fsync, rename, fsync of the folder. The content is synced before the rename,
/// so that the final name never refers to partial content.
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
