//! A job's outer steps, one record each, in a file that is appended to while the job trains and that watchers
//! read. A record is its length (u32), its XXH3-64 (u64), both little-endian, and an encoded `OuterStepMetrics`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fail::fail_point;
use lookbehind_proto::v1::OuterStepMetrics;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::StoreError;

const HEADER: usize = 12;
/// No record comes near it: a larger length is damage.
const MAX_RECORD: u32 = 1 << 20;

/// Where a job's journal lies.
pub fn path(job_folder: &Path) -> PathBuf {
    job_folder.join("steps.journal")
}

/// What a journal says of the result of an outer step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Digest of the weights after it.
    pub digest: String,
    /// The compute class that computed it.
    pub compute_class: String,
}

/// The journal of a job that trains.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the whole records in the file.
    length: u64,
    /// Records that could not be written yet, because the disk was full or failed.
    unwritten: Vec<u8>,
}

impl Journal {
    /// Opens a job's journal and cuts it back to the first `outer_steps` steps, and before the first damaged
    /// record. Returns also what was recorded of the steps that it cuts off, by their number.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(job_folder: &Path, outer_steps: u64) -> Result<(Self, BTreeMap<u64, Recorded>), StoreError> {
        std::fs::create_dir_all(job_folder).map_err(StoreError::io(job_folder))?;
        let path = path(job_folder);
        let mut reader = Reader::new(path.clone());
        let (mut keep, mut cut_off) = (0, BTreeMap::new());
        while let Some(step) = reader.next_step()? {
            if step.outer_step > outer_steps {
                let OuterStepMetrics { outer_step, digest, compute_class, .. } = step;
                cut_off.insert(outer_step, Recorded { digest, compute_class });
            } else if cut_off.is_empty() {
                keep = reader.offset;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        fail_point!("journal::cut");
        file.set_len(keep).map_err(StoreError::io(&path))?;
        Ok((Self { path, file, length: keep, unwritten: Vec::new() }, cut_off))
    }

    /// Appends a step.
    ///
    /// # Errors
    /// When the file cannot be written; the step is kept, and written with the next one or when the journal is made
    /// durable.
    pub fn append(&mut self, step: &OuterStepMetrics) -> Result<(), StoreError> {
        let body = step.encode_to_vec();
        self.unwritten.extend((body.len() as u32).to_le_bytes());
        self.unwritten.extend(xxh3_64(&body).to_le_bytes());
        self.unwritten.extend(body);
        self.write()
    }

    /// Writes what is not written yet, whole or not at all: readers go on behind a torn record only once it is whole.
    fn write(&mut self) -> Result<(), StoreError> {
        fail_point!("journal::write");
        // An earlier attempt may have left a torn record behind.
        let written = self.file.set_len(self.length).and_then(|()| self.file.write_all(&self.unwritten));
        written.map_err(StoreError::io(&self.path))?;
        self.length += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes all steps appended so far durable.
    ///
    /// # Errors
    /// When the file cannot be written or synchronised.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        fail_point!("journal::written");
        self.file.sync_all().map_err(StoreError::io(&self.path))
    }
}

/// Reads a journal from its beginning, also while it grows.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
}

impl Reader {
    /// Reads the journal at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0 }
    }

    /// Begins again, after the journal was cut back.
    pub fn rewind(&mut self) {
        self.offset = 0;
    }

    /// The next whole record, or `None` where there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_step(&mut self) -> Result<Option<OuterStepMetrics>, StoreError> {
        let Self { path, file, offset } = self;
        let file = match file {
            Some(file) => file,
            None => match File::open(&*path) {
                Ok(opened) => file.insert(opened),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(StoreError::io(path)(error)),
            },
        };
        file.seek(SeekFrom::Start(*offset)).map_err(StoreError::io(path))?;
        let mut header = [0; HEADER];
        if !fill(file, &mut header).map_err(StoreError::io(path))? {
            return Ok(None);
        }
        let (length, checksum) = split_header(&header);
        if length > u64::from(MAX_RECORD) {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        if !fill(file, &mut body).map_err(StoreError::io(path))? || xxh3_64(&body) != checksum {
            return Ok(None);
        }
        // A record that cannot be read ends the journal like any other damage: what follows it is not reached.
        let step = OuterStepMetrics::decode(body.as_slice()).ok();
        if step.is_some() {
            *offset += (HEADER + body.len()) as u64;
        }
        Ok(step)
    }
}

/// Length and checksum of a record.
fn split_header(header: &[u8; HEADER]) -> (u64, u64) {
    let (length, checksum) = header.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (number(length), number(checksum))
}

/// Fills a buffer; `false` where the file ends before.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
