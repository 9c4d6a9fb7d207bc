//! Checks the sizes and counts in a footer and in the pages of a column before anything is allocated for them: the
//! Parquet reader trusts them.
//!
//! A page begins with a header in Thrift's compact protocol (Apache Parquet format, `PageHeader`), of which a few
//! integers matter here.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use ::parquet::basic::Encoding;

/// Fields of a struct whose integers are kept.
const FIELDS: usize = 9;
/// Deepest nesting of a page header, and most items of its lists.
const DEPTH: usize = 8;
const ITEMS: u64 = 1 << 16;
/// Longest text that is skipped.
const TEXT: u64 = 1 << 24;

/// Deepest nesting of a footer.
const FOOTER_DEPTH: usize = 16;
/// The last bytes of a file, after the footer and its length in four bytes.
const MAGIC: &[u8; 4] = b"PAR1";

/// Fields of `PageHeader`.
const UNCOMPRESSED_SIZE: usize = 2;
const COMPRESSED_SIZE: usize = 3;
const DATA_PAGE: usize = 5;
const DICTIONARY_PAGE: usize = 7;
const DATA_PAGE_2: usize = 8;

type Number = Option<i64>;

/// A struct's integers by field, and those of the structs within it.
#[derive(Default)]
struct Fields {
    numbers: [Number; FIELDS],
    structs: [Option<Box<Fields>>; FIELDS],
}

impl Fields {
    fn number(&self, field: usize) -> Result<u64, String> {
        let number = self.numbers.get(field).copied().flatten();
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| format!("a page's field {field} is no count"))
    }

    fn nested(&self, field: usize) -> Option<&Fields> {
        self.structs.get(field).and_then(Option::as_deref)
    }
}

/// Checks that a file's footer (`FileMetaData`) contains everything that its lists and texts claim. A file without a
/// footer is left to the Parquet reader, which reports it.
pub(super) fn check_footer(file: &File) -> Result<(), String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let Some(end) = size.checked_sub(8) else { return Ok(()) };
    let mut reader = Headers { reader: BufReader::with_capacity(1 << 16, file), position: end, end: size };
    reader.seek(end)?;
    let mut tail = [0; 8];
    reader.reader.read_exact(&mut tail).map_err(|error| error.to_string())?;
    let [a, b, c, d, magic @ ..] = tail;
    match end.checked_sub(u64::from(u32::from_le_bytes([a, b, c, d]))) {
        Some(start) if magic == *MAGIC => {
            reader.end = end;
            reader.seek(start)?;
            reader.fields(FOOTER_DEPTH)?;
            // The Parquet reader recognises fields by their numbers and ignores their types. If the types are wrong, it
            // reads other bytes than this check has read: the check must end exactly where the footer ends.
            match end - reader.position {
                0 => Ok(()),
                left => Err(format!("{left} bytes behind the end of the footer")),
            }
        }
        _ => Ok(()),
    }
}

/// Checks all pages of a column chunk: none may be larger than `limit` or than the rest of the chunk, no dictionary may
/// have more entries than fit into it, and every encoding must be `readable`.
pub(super) fn check(
    file: &File,
    start: u64,
    length: u64,
    limit: u64,
    readable: impl Fn(Encoding) -> bool,
) -> Result<(), String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let end = start.checked_add(length).filter(|&end| end <= size);
    let end = end.ok_or_else(|| format!("{length} bytes at byte {start} in a file of {size}"))?;
    let mut reader = Headers { reader: BufReader::with_capacity(1 << 12, file), position: start, end };
    reader.seek(start)?;
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
        check_content(&page, unpacked, &readable)?;
        reader.seek(reader.position + packed)?;
    }
    Ok(())
}

fn check_content(page: &Fields, size: u64, readable: &dyn Fn(Encoding) -> bool) -> Result<(), String> {
    if let Some(dictionary) = page.nested(DICTIONARY_PAGE) {
        // An entry of any type that is read takes at least four bytes.
        let entries = dictionary.number(1)?;
        if entries > size / 4 {
            return Err(format!("a dictionary of {entries} entries in {size} bytes"));
        }
    }
    for (data, field) in [(page.nested(DATA_PAGE), 2), (page.nested(DATA_PAGE_2), 4)] {
        let Some(data) = data else { continue };
        let number = data.number(field)?;
        let known = [(0, Encoding::PLAIN), (2, Encoding::PLAIN_DICTIONARY), (8, Encoding::RLE_DICTIONARY)];
        let known = known.iter().find(|(code, _)| *code == number).map(|(_, encoding)| *encoding);
        if !known.is_some_and(readable) {
            return Err(format!("encoding {number}, expected plain or dictionary"));
        }
    }
    Ok(())
}

/// Reads headers, but never beyond the end of the chunk.
struct Headers<'a> {
    reader: BufReader<&'a File>,
    position: u64,
    end: u64,
}

impl Headers<'_> {
    fn seek(&mut self, position: u64) -> Result<(), String> {
        self.reader.seek(SeekFrom::Start(position)).map_err(|error| error.to_string())?;
        self.position = position;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        if self.position >= self.end {
            return Err("truncated: a header is cut".into());
        }
        self.reader.read_exact(&mut byte).map_err(|error| error.to_string())?;
        self.position += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of a header does not end".into())
    }

    fn zigzag(&mut self) -> Result<i64, String> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > TEXT.min(self.end - self.position) {
            return Err(format!("truncated: {bytes} bytes within a header"));
        }
        self.seek(self.position + bytes)
    }

    /// Reads a struct up to its end.
    fn fields(&mut self, depth: usize) -> Result<Fields, String> {
        let mut fields = Fields::default();
        let mut field = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            field = if head >> 4 == 0 { self.zigzag()? } else { field + i64::from(head >> 4) };
            let place = usize::try_from(field).ok().filter(|&field| field < FIELDS);
            match head & 0x0f {
                4..=6 => {
                    let number = self.zigzag()?;
                    if let Some(kept) = place.and_then(|place| fields.numbers.get_mut(place)) {
                        *kept = Some(number);
                    }
                }
                12 if depth > 0 => {
                    let nested = Box::new(self.fields(depth - 1)?);
                    if let Some(kept) = place.and_then(|place| fields.structs.get_mut(place)) {
                        *kept = Some(nested);
                    }
                }
                kind => self.skip_value(kind, depth, false)?,
            }
        }
    }

    fn skip_value(&mut self, kind: u8, depth: usize, in_list: bool) -> Result<(), String> {
        match kind {
            1 | 2 if in_list => self.skip(1),
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 if depth > 0 => self.skip_list(depth - 1),
            12 if depth > 0 => self.fields(depth - 1).map(drop),
            _ => Err(format!("a value of kind {kind} within a header")),
        }
    }

    fn skip_list(&mut self, depth: usize) -> Result<(), String> {
        let head = self.byte()?;
        let items = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        // Every item takes at least a byte.
        if items > ITEMS.min(self.end - self.position) {
            return Err(format!("a list of {items} items where {} bytes are left", self.end - self.position));
        }
        (0..items).try_for_each(|_| self.skip_value(head & 0x0f, depth, true))
    }
}
