//! Reads the members of tar archives one after the other: those of the old format, ustar, pax and GNU.

use std::io::Read;

use tar::EntryType;

use super::names::path_of;
use crate::source::Source;
use crate::{DataError, FileProblem};

/// Most bytes of what stands before a member for its long name, or for what else pax says of it.
const MAX_EXTENSION: u64 = 1 << 16;

/// What a member is.
pub(crate) enum Content<'a> {
    Folder,
    File {
        /// Length in bytes.
        length: u64,
        /// Where it begins in the archive.
        offset: u64,
        reader: &'a mut dyn Read,
    },
}

/// Visits the files and folders of an archive in their order, with their paths.
///
/// # Errors
/// When the archive is damaged, a member is anything else than a file or folder or has a name that leads out of the archive,
/// or `each` fails.
pub(crate) fn visit(
    source: &Source,
    reader: impl Read,
    mut each: impl FnMut(&str, Content<'_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let damaged = |error: std::io::Error| source.error(problem_of(error));
    let mut archive = tar::Archive::new(reader);
    // Names that stand before their members, or `None`.
    let mut long_name: Option<Vec<u8>> = None;
    // As they are: the library would gather extensions of any length.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() || kind.is_gnu_longlink() {
            continue;
        }
        if kind.is_pax_local_extensions() || kind.is_gnu_longname() {
            let text = extension(&mut entry).map_err(|problem| source.error(problem))?;
            let found = match kind.is_gnu_longname() {
                true => Some(text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()),
                false => pax_path(&text).map_err(|problem| source.error(problem))?,
            };
            long_name = found.or(long_name);
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = path_of(&name).map_err(|problem| source.error(problem))?;
        let (length, offset) = (entry.size(), entry.raw_file_position());
        let content = match kind {
            EntryType::Directory => Content::Folder,
            // Before ustar, folders were known by their names.
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Content::Folder,
            EntryType::Regular | EntryType::Continuous => {
                Content::File { length, offset, reader: &mut entry }
            }
            other => {
                let problem = format!("is {}, expected files and folders only", called(other));
                return Err(source.error(FileProblem::member(&path, problem)));
            }
        };
        each(&path, content)?;
    }
    Ok(())
}

fn called(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink | EntryType::Link => "a link",
        EntryType::Char | EntryType::Block | EntryType::Fifo => "a device or pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown type",
    }
}

/// What stands before a member.
fn extension(reader: &mut dyn Read) -> Result<Vec<u8>, FileProblem> {
    let mut text = Vec::new();
    reader.take(MAX_EXTENSION + 1).read_to_end(&mut text).map_err(problem_of)?;
    if text.len() as u64 > MAX_EXTENSION {
        let place = "what stands before a member".to_owned();
        return Err(FileProblem::TooLong { place, limit: MAX_EXTENSION });
    }
    Ok(text)
}

/// The path in pax's records, which are key and value.
fn pax_path(text: &[u8]) -> Result<Option<Vec<u8>>, FileProblem> {
    let mut path = None;
    for record in tar::PaxExtensions::new(text) {
        let record = record.map_err(problem_of)?;
        match record.key_bytes() {
            b"path" => path = Some(record.value_bytes().to_vec()),
            // The members after it would be looked for in the wrong places.
            b"size" => {
                let reason = "a length of more than 8 GiB, or one that stands beside its header".to_owned();
                return Err(FileProblem::Damaged { format: "tar", reason });
            }
            key if key.starts_with(b"GNU.sparse.") => {
                let reason = "sparse files, which are not read".to_owned();
                return Err(FileProblem::Damaged { format: "tar", reason });
            }
            _ => {}
        }
    }
    Ok(path)
}

/// The library has one type for errors of reading and for damaged archives.
fn problem_of(error: std::io::Error) -> FileProblem {
    match error.kind() {
        std::io::ErrorKind::Other | std::io::ErrorKind::UnexpectedEof if error.get_ref().is_some() => {
            match crate::loading::Cancelled::is_cause_of(&error) {
                true => FileProblem::Io(error),
                false => FileProblem::Damaged { format: "tar", reason: error.to_string() },
            }
        }
        _ => FileProblem::Io(error),
    }
}
