//! The state folder is for its owner only: what it holds are the jobs and models of all users.

use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

/// Permissions of the state folder.
const OWNER_ONLY: u32 = 0o700;
/// Permissions of the group and of others.
const OTHERS: u32 = 0o077;
/// Set on folders such as `/tmp`, which everybody shares.
const STICKY: u32 = 0o1000;

/// Creates the folder for its owner only, whatever the umask, or takes the permissions of others from an existing one.
///
/// # Errors
/// If it cannot be created or is a folder that everybody shares.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let failed = || StoreError::io(path);
    let new = !path.exists();
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path).map_err(failed())?;
    let folder = File::open(path).map_err(failed())?;
    let mode = folder.metadata().map_err(failed())?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 && (!new || mode == OWNER_ONLY) {
        return Ok(());
    }
    if mode & STICKY != 0 {
        let reason =
            format!("expected a folder for the state only, found one that everybody shares ({mode:04o})");
        return Err(StoreError::unfit(path, reason));
    }
    let path = path.display();
    match folder.set_permissions(Permissions::from_mode(OWNER_ONLY)) {
        Ok(()) if new => Ok(()),
        Ok(()) => {
            tracing::warn!(%path, before = %format_args!("{mode:04o}"), "others had access to the state folder; now it is 0700");
            Ok(())
        }
        // The owner is another user, who decides who has access.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            tracing::warn!(%path, permissions = %format_args!("{mode:04o}"), %error, "others have access to the state folder");
            Ok(())
        }
        Err(source) => Err(StoreError::Io { path: path.to_string().into(), source }),
    }
}
