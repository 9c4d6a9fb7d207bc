//! Names of members: paths within the archive, whatever somebody wrote into it.

use crate::FileProblem;

/// Most bytes of a name.
const MAX_NAME: usize = 4096;

/// The path that a name means: without `./` and doubled slashes; empty for the archive itself.
///
/// # Errors
/// When it leads out of the archive, is absolute, too long or no text.
pub(super) fn path_of(name: &[u8]) -> Result<String, FileProblem> {
    let refuse = |problem: &str| Err(FileProblem::member(&String::from_utf8_lossy(name), problem));
    if name.len() > MAX_NAME {
        let shown = String::from_utf8_lossy(&name[..64]);
        return Err(FileProblem::member(&shown, format!("has a name of more than {MAX_NAME} bytes")));
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return refuse("has a name that is not UTF-8");
    };
    let is_drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if text.starts_with('/') || is_drive {
        return refuse("has an absolute name, expected one relative to the archive");
    }
    if text.contains('\0') {
        return refuse("has a name with NUL in it");
    }
    if text.split('/').any(|part| part == "..") {
        return refuse("has a name that leads out of the archive with \"..\"");
    }
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    Ok(parts.collect::<Vec<_>>().join("/"))
}
