//! What the records at the end of a zip archive say of its directory. The memory for the directory is charged by its length,
//! and the library that reads it believes other numbers and looks for other records where the last ones do not fit. So they
//! must fit exactly.

use std::io::{BufReader, Read, Seek, SeekFrom};

use crate::FileProblem;

/// Length of the record that ends an archive, without the comment, which has at most 65,535 bytes.
const END: usize = 22;
const MAX_COMMENT: usize = 0xffff;
/// Length of the record before it that says where zip64's own record is, and of that one.
const LOCATOR: usize = 20;
const RECORD: usize = 56;
/// Length of a member's entry without its names and comments.
const HEADER: usize = 46;

/// Where the directory is, and what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    start: u64,
    pub(super) bytes: u64,
    pub(super) members: u64,
}

impl Directory {
    /// Reads the records at the end, and checks that the directory is as long as they say.
    ///
    /// # Errors
    /// If there are none, or they do not fit to each other or to the directory.
    pub(super) fn of(file: &mut (impl Read + Seek)) -> Result<Self, FileProblem> {
        let length = file.seek(SeekFrom::End(0)).map_err(FileProblem::Io)?;
        let tail = (END + MAX_COMMENT + LOCATOR).min(usize::try_from(length).unwrap_or(usize::MAX));
        file.seek(SeekFrom::Start(length - tail as u64)).map_err(FileProblem::Io)?;
        let mut bytes = vec![0; tail];
        file.read_exact(&mut bytes).map_err(FileProblem::Io)?;
        let starts = |start: &usize| bytes[*start..].starts_with(b"PK\x05\x06");
        let last = tail.checked_sub(END);
        let Some(start) = last.and_then(|last| (0..=last).rev().find(starts)) else {
            return Err(damaged("it has no end: it was not downloaded or written completely"));
        };
        let (before, end) = bytes.split_at(start);
        let position = length - end.len() as u64;
        let (directory, follows) = match locator(before, end) {
            Some(locator) => Self::of_zip64(file, position - LOCATOR as u64, locator)?,
            None => (Self::of_end(end)?, position),
        };
        if directory.start.checked_add(directory.bytes) != Some(follows) {
            return Err(damaged("its directory is not where its end says"));
        }
        directory.walk(file)?;
        Ok(directory)
    }

    fn of_end(end: &[u8]) -> Result<Self, FileProblem> {
        let comment = number(end, 20, 2);
        if comment > (end.len() - END) as u64 {
            return Err(damaged("it was not downloaded or written completely"));
        }
        let members = number(end, 10, 2);
        if number(end, 4, 4) != 0 || number(end, 8, 2) != members {
            return Err(damaged("it is one part of several, which are not read"));
        }
        Ok(Self { start: number(end, 16, 4), bytes: number(end, 12, 4), members })
    }

    /// The directory, and where the record is that must follow it.
    fn of_zip64(
        file: &mut (impl Read + Seek),
        locator_position: u64,
        locator: &[u8],
    ) -> Result<(Self, u64), FileProblem> {
        let at = number(locator, 8, 8);
        let mut record = [0; RECORD];
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut record));
        read.map_err(|error| damaged(&format!("the record of zip64: {error}")))?;
        let members = number(&record, 32, 8);
        let is_whole = record.starts_with(b"PK\x06\x06")
            // Its own length does not count what stands before that.
            && number(&record, 4, 8) == (RECORD - 12) as u64
            && at.checked_add(RECORD as u64) == Some(locator_position)
            && number(&record, 16, 8) == 0
            && number(&record, 24, 8) == members
            && number(locator, 4, 4) == 0
            && number(locator, 16, 4) <= 1;
        if !is_whole {
            return Err(damaged("the record of zip64 is not what its end says"));
        }
        Ok((Self { start: number(&record, 48, 8), bytes: number(&record, 40, 8), members }, at))
    }

    /// Checks that as many members as there should be take as many bytes as they should.
    fn walk(self, file: &mut (impl Read + Seek)) -> Result<(), FileProblem> {
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(self.start)).map_err(FileProblem::Io)?;
        let mut left = self.bytes;
        for _ in 0..self.members {
            let mut header = [0; HEADER];
            let rest = left.checked_sub(HEADER as u64).ok_or_else(not_as_long)?;
            reader.read_exact(&mut header).map_err(FileProblem::Io)?;
            if !header.starts_with(b"PK\x01\x02") {
                return Err(not_as_long());
            }
            let texts = number(&header, 28, 2) + number(&header, 30, 2) + number(&header, 32, 2);
            left = rest.checked_sub(texts).ok_or_else(not_as_long)?;
            // The lengths of three texts of at most 64 KiB.
            reader.seek_relative(texts as i64).map_err(FileProblem::Io)?;
        }
        if left == 0 { Ok(()) } else { Err(not_as_long()) }
    }
}

/// The record that says where zip64's own record is; `None` if the numbers of the end suffice.
fn locator<'a>(before: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let is_full = |place, length| number(end, place, length) == (1 << (8 * length)) - 1;
    let start = before.len().checked_sub(LOCATOR)?;
    let found = before[start..].starts_with(b"PK\x06\x07");
    (found && (is_full(10, 2) || is_full(12, 4) || is_full(16, 4))).then(|| &before[start..])
}

/// The little-endian number of `length` bytes at a place, of which the caller knows that it is there.
fn number(bytes: &[u8], place: usize, length: usize) -> u64 {
    bytes[place..place + length].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn damaged(reason: &str) -> FileProblem {
    FileProblem::Damaged { format: "zip", reason: reason.to_owned() }
}

fn not_as_long() -> FileProblem {
    damaged("its directory is not as long as its end says")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_end_that_is_cut_off_is_none() {
        let mut end = b"PK\x05\x06".to_vec();
        for length in 4..END {
            end.resize(length, 0);
            let found = Directory::of(&mut Cursor::new(&end)).unwrap_err().to_string();
            assert!(found.contains("it has no end"), "{length} bytes: {found}");
        }
        end.resize(END, 0);
        let empty = Directory { start: 0, bytes: 0, members: 0 };
        assert_eq!(Directory::of(&mut Cursor::new(&end)).unwrap(), empty);
    }
}
