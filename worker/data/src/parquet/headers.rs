//! Headers of pages and the footer, in Thrift's compact protocol: a few integers of them matter here (Apache Parquet
//! format, `PageHeader` and `FileMetaData`).

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use crate::loading::Watched;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 13;
/// Fields of a struct whose integers are kept.
const FIELDS: usize = 9;
/// Most items of a list.
const ITEMS: u64 = 1 << 16;
/// Longest text that is skipped.
const TEXT: u64 = 1 << 24;

type Number = Option<i64>;

/// A struct's integers, truth values and lengths of texts by field, and those of the structs within it.
#[derive(Default)]
pub(super) struct Fields {
    numbers: [Number; FIELDS],
    truths: [Option<bool>; FIELDS],
    lengths: [Option<u64>; FIELDS],
    structs: [Option<Box<Fields>>; FIELDS],
}

impl Fields {
    pub(super) fn number(&self, field: usize) -> Result<u64, String> {
        let number = self.numbers.get(field).copied().flatten();
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| format!("a page's field {field} is no count"))
    }

    /// A truth value.
    pub(super) fn truth(&self, field: usize) -> Option<bool> {
        self.truths.get(field).copied().flatten()
    }

    /// The length of a text.
    pub(super) fn length(&self, field: usize) -> Option<u64> {
        self.lengths.get(field).copied().flatten()
    }

    pub(super) fn nested(&self, field: usize) -> Option<&Fields> {
        self.structs.get(field).and_then(Option::as_deref)
    }
}

/// Reads headers, but never beyond the end of the chunk.
pub(super) struct Headers<'a> {
    reader: BufReader<Watched<&'a File>>,
    pub(super) position: u64,
    pub(super) end: u64,
}

impl<'a> Headers<'a> {
    /// Reads from `start` on, but never beyond `end`.
    pub(super) fn open(file: Watched<&'a File>, start: u64, end: u64) -> Result<Self, String> {
        let mut headers = Self { reader: BufReader::with_capacity(BUFFER, file), position: start, end };
        headers.seek(start)?;
        Ok(headers)
    }

    pub(super) fn seek(&mut self, position: u64) -> Result<(), String> {
        self.reader.seek(SeekFrom::Start(position)).map_err(|error| error.to_string())?;
        self.position = position;
        Ok(())
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
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

    /// The kind of a struct's next field, whose number becomes `field`; `None` at the struct's end.
    pub(super) fn field(&mut self, field: &mut i64) -> Result<Option<u8>, String> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *field = if head >> 4 == 0 { self.zigzag()? } else { field.saturating_add(i64::from(head >> 4)) };
        Ok(Some(head & 0x0f))
    }

    /// Reads a struct up to its end.
    pub(super) fn fields(&mut self, depth: usize) -> Result<Fields, String> {
        let mut fields = Fields::default();
        let mut field = 0_i64;
        while let Some(kind) = self.field(&mut field)? {
            let place = usize::try_from(field).ok().filter(|&field| field < FIELDS);
            match kind {
                8 => {
                    let length = self.varint()?;
                    self.skip(length)?;
                    if let Some(kept) = place.and_then(|place| fields.lengths.get_mut(place)) {
                        *kept = Some(length);
                    }
                }
                1 | 2 => {
                    if let Some(kept) = place.and_then(|place| fields.truths.get_mut(place)) {
                        *kept = Some(kind == 1);
                    }
                }
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
        Ok(fields)
    }

    pub(super) fn skip_value(&mut self, kind: u8, depth: usize, in_list: bool) -> Result<(), String> {
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

    /// Number and kind of a list's items.
    pub(super) fn list(&mut self) -> Result<(u64, u8), String> {
        let head = self.byte()?;
        let items = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        // Every item takes at least a byte.
        if items > ITEMS.min(self.end - self.position) {
            return Err(format!("a list of {items} items where {} bytes are left", self.end - self.position));
        }
        Ok((items, head & 0x0f))
    }

    fn skip_list(&mut self, depth: usize) -> Result<(), String> {
        let (items, kind) = self.list()?;
        (0..items).try_for_each(|_| self.skip_value(kind, depth, true))
    }
}
