//! Checks the sizes and counts in a footer and in the pages of a column before anything is allocated for them: the
//! Parquet reader trusts them.

use std::fs::File;

use super::headers::{Fields, Headers};
use super::packing::Packing;
use crate::loading::Loading;

/// Deepest nesting of a page header.
const DEPTH: usize = 8;
/// Deepest nesting of a footer, and of the columns that it describes: the Parquet reader follows both by recursion.
const FOOTER_DEPTH: usize = 16;
const SCHEMA_DEPTH: usize = 32;
/// Bytes in memory of each byte of a footer, at most, and of each name in the path of a column.
const EXPANSION: u64 = 32;
const PART: u64 = 32;
/// Field of `FileMetaData`, and fields of the `SchemaElement`s in it.
const SCHEMA: i64 = 2;
const NAME: usize = 4;
const CHILDREN: usize = 5;
/// The last bytes of a file, after the footer and its length in four bytes.
const MAGIC: &[u8; 4] = b"PAR1";

/// Fields of `PageHeader`.
const UNCOMPRESSED_SIZE: usize = 2;
const COMPRESSED_SIZE: usize = 3;
const DATA_PAGE: usize = 5;
const DICTIONARY_PAGE: usize = 7;
pub(super) const DATA_PAGE_2: usize = 8;
/// Numbers of the encodings that are read: PLAIN, PLAIN_DICTIONARY, RLE, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY,
/// DELTA_BYTE_ARRAY, RLE_DICTIONARY and BYTE_STREAM_SPLIT.
const ENCODINGS: [u64; 8] = [0, 2, 3, 5, 6, DELTA_BYTE_ARRAY, 8, 9];
const DELTA_BYTE_ARRAY: u64 = 7;
/// Bytes of an entry of a dictionary in memory.
const ENTRY: u64 = 40;

/// Checks that a file's footer (`FileMetaData`) contains everything that its lists and texts claim; returns the bytes
/// that it takes in memory, at most. A file without a footer is left to the Parquet reader, which reports it.
pub(super) fn check_footer(file: &File, loading: &Loading) -> Result<u64, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let Some(end) = size.checked_sub(8) else { return Ok(0) };
    let mut reader = Headers::open(loading.watch(file), end, size)?;
    let mut tail = [0; 8];
    tail.iter_mut().try_for_each(|byte| reader.byte().map(|read| *byte = read))?;
    let [a, b, c, d, magic @ ..] = tail;
    match end.checked_sub(u64::from(u32::from_le_bytes([a, b, c, d]))) {
        Some(start) if magic == *MAGIC => {
            reader.end = end;
            reader.seek(start)?;
            let paths = footer(&mut reader)?;
            // The Parquet reader recognises fields by their numbers and ignores their types. If the types are wrong, it
            // reads other bytes than this check has read: the check must end exactly where the footer ends.
            match end - reader.position {
                0 => Ok(paths.saturating_add((end - start).saturating_mul(EXPANSION))),
                left => Err(format!("{left} bytes behind the end of the footer")),
            }
        }
        _ => Ok(0),
    }
}

/// Reads a footer up to its end; returns the bytes of the paths of all columns.
fn footer(reader: &mut Headers<'_>) -> Result<u64, String> {
    let (mut field, mut paths) = (0, 0_u64);
    while let Some(kind) = reader.field(&mut field)? {
        match (field, kind) {
            (SCHEMA, 9) => paths = paths.saturating_add(schema(reader)?),
            (SCHEMA, kind) => return Err(format!("a schema of kind {kind}")),
            (_, kind) => reader.skip_value(kind, FOOTER_DEPTH, false)?,
        }
    }
    Ok(paths)
}

/// Reads the list of groups and columns; returns the bytes of the paths of all columns. A path has the names of all
/// groups around a column, so that a long name may stand in many.
fn schema(reader: &mut Headers<'_>) -> Result<u64, String> {
    let (items, kind) = reader.list()?;
    if kind != 12 {
        return Err(format!("a schema of items of kind {kind}"));
    }
    // The groups that are open: how many children are to come, and the bytes of the path.
    let (mut open, mut paths): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
    for _ in 0..items {
        let element = reader.fields(FOOTER_DEPTH - 1)?;
        while open.pop_if(|(children, _)| *children == 0).is_some() {}
        let around = open.last_mut().map_or(0, |(children, path)| {
            *children -= 1;
            *path
        });
        let path = around.saturating_add(element.length(NAME).unwrap_or(0) + PART);
        match element.number(CHILDREN) {
            Ok(children) if children > 0 => open.push((children, path)),
            _ => paths = paths.saturating_add(path),
        }
        if open.len() > SCHEMA_DEPTH {
            return Err(format!("columns in more than {SCHEMA_DEPTH} groups within each other"));
        }
    }
    Ok(paths)
}

/// What the pages of a column chunk take in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Bytes of the largest page, packed and unpacked.
    pub(super) page: u64,
    /// Bytes of the entries of the dictionary.
    pub(super) dictionary: u64,
    /// Whether values are put together from others, so that they do not stand in a page.
    pub(super) put_together: bool,
}

/// Checks all pages of a column chunk that begins at a byte and has so many: none may be larger than the memory limit or
/// than the rest of the chunk, or hold more than it claims, no dictionary may have more entries than fit into it, and every
/// encoding must be known.
pub(super) fn check(
    file: &File,
    (start, length): (u64, u64),
    loading: &Loading,
    packing: Option<Packing>,
) -> Result<Needs, String> {
    let limit = loading.limit();
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let end = start.checked_add(length).filter(|&end| end <= size);
    let end = end.ok_or_else(|| format!("{length} bytes at byte {start} in a file of {size}"))?;
    let mut reader = Headers::open(loading.watch(file), start, end)?;
    let mut needs = Needs::default();
    while reader.position < end {
        let page = reader.fields(DEPTH)?;
        let (unpacked, packed) = (page.number(UNCOMPRESSED_SIZE)?, page.number(COMPRESSED_SIZE)?);
        if unpacked > limit {
            return Err(format!("a page of {unpacked} bytes, this worker's limit is {limit}"));
        }
        if packed > end - reader.position {
            return Err(format!(
                "truncated: a page of {packed} bytes where {} are left",
                end - reader.position
            ));
        }
        let work = packing.map_or(0, |packing| packing.work(unpacked));
        needs.page = needs.page.max(unpacked.saturating_add(packed).saturating_add(work));
        needs.dictionary = needs.dictionary.max(check_dictionary(&page, unpacked)?);
        needs.put_together |= check_encoding(&page)?;
        if let Some(packing) = packing {
            packing.check(&page, file, (reader.position, packed), unpacked, loading)?;
        }
        reader.seek(reader.position + packed)?;
    }
    Ok(needs)
}

/// Checks how many entries a dictionary claims; returns their bytes in memory.
fn check_dictionary(page: &Fields, size: u64) -> Result<u64, String> {
    let Some(dictionary) = page.nested(DICTIONARY_PAGE) else { return Ok(0) };
    // Entries take four bytes at least, but for those of a fixed length, which may have a single byte.
    let entries = dictionary.number(1)?;
    if entries > size {
        return Err(format!("a dictionary of {entries} entries in {size} bytes"));
    }
    Ok(entries * ENTRY)
}

/// Checks the encoding of a data page; returns whether its values are put together from others.
fn check_encoding(page: &Fields) -> Result<bool, String> {
    for (data, field) in [(page.nested(DATA_PAGE), 2), (page.nested(DATA_PAGE_2), 4)] {
        let Some(data) = data else { continue };
        match data.number(field)? {
            DELTA_BYTE_ARRAY => return Ok(true),
            known if ENCODINGS.contains(&known) => {}
            number => return Err(format!("encoding {number} of Parquet, expected one of {ENCODINGS:?}")),
        }
    }
    Ok(false)
}
