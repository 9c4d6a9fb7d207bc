//! The journal of a job's outer steps: a file with one record per step, appended while the job trains and read by
//! watchers. A record is the length of its body (u32) and the XXH3-64 of its body (u64), both little-endian, and the
//! body, an encoded `OuterStepMetrics`.

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
/// Maximum length of a body. Real ones are much shorter: a larger length is damage, and must not be allocated.
const MAX_RECORD: u32 = 1 << 20;

/// Path of a job's journal.
pub fn path(job_folder: &Path) -> PathBuf {
    job_folder.join("steps.journal")
}

/// The recorded result of an outer step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Digest of the weights after the step.
    pub digest: String,
    /// Compute class that computed it; empty if classes were mixed.
    pub compute_class: String,
}

/// The journal of a job that trains, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the whole records in the file.
    length: u64,
    /// Length of those of them that are durable.
    synced: u64,
    /// Records that could not be written yet, because the disk was full or failing.
    unwritten: Vec<u8>,
}

impl Journal {
    /// Opens a job's journal and cuts it back to the first `outer_steps` steps, or to the first damaged record if that
    /// comes earlier. Also returns the records of the steps cut off, by their number.
    ///
    /// # Errors
    /// If the file cannot be read or written.
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
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path);
        let file = file.map_err(StoreError::io(&path))?;
        fail_point!("journal::cut");
        file.set_len(keep).map_err(StoreError::io(&path))?;
        Ok((Self { path, file, length: keep, synced: keep, unwritten: Vec::new() }, cut_off))
    }

    /// Appends a step; it is durable only after [`Journal::sync`].
    ///
    /// # Errors
    /// If the file cannot be written. The step is kept, and written with the next one or by [`Journal::sync`].
    pub fn append(&mut self, step: &OuterStepMetrics) -> Result<(), StoreError> {
        self.keep(step);
        self.write()
    }

    /// Keeps a step in memory until the next call of [`Journal::append`] or [`Journal::sync`], which writes it.
    pub fn keep(&mut self, step: &OuterStepMetrics) {
        let body = step.encode_to_vec();
        self.unwritten.extend((body.len() as u32).to_le_bytes());
        self.unwritten.extend(xxh3_64(&body).to_le_bytes());
        self.unwritten.extend(body);
    }

    /// Writes all unwritten records. A reader that meets a torn record waits until it is whole.
    fn write(&mut self) -> Result<(), StoreError> {
        fail_point!("journal::write");
        // First cut off the torn record that a failed attempt may have left.
        let written = self.file.set_len(self.length).and_then(|()| self.file.write_all(&self.unwritten));
        written.map_err(StoreError::io(&self.path))?;
        self.length += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes all steps appended so far durable.
    ///
    /// # Errors
    /// If the file cannot be written or synced.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        fail_point!("journal::written");
        let synced = self.file.sync_all().map_err(StoreError::io(&self.path));
        match synced {
            Ok(()) => self.synced = self.length,
            Err(_) => self.doubt_unsynced(),
        }
        synced
    }

    /// Takes back what is not known to be durable, to write it again: after a failed sync the system may take what it could
    /// not write for written, and the next sync would succeed without it.
    pub(super) fn doubt_unsynced(&mut self) {
        let mut doubtful = Vec::new();
        let read = (&self.file)
            .seek(SeekFrom::Start(self.synced))
            .and_then(|_| (&self.file).take(self.length - self.synced).read_to_end(&mut doubtful));
        // Where it cannot be read either, the file stays as it is.
        if read.is_ok_and(|length| length as u64 == self.length - self.synced) {
            doubtful.append(&mut self.unwritten);
            (self.unwritten, self.length) = (doubtful, self.synced);
        }
    }
}

/// Reads a journal from its beginning, also while it is being appended to.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
}

impl Reader {
    /// A reader of the journal at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0 }
    }

    /// Starts again from the beginning, after the journal was cut back.
    pub fn rewind(&mut self) {
        self.offset = 0;
    }

    /// The next whole record, which has its times; `None` if there is none, or none yet.
    ///
    /// # Errors
    /// If the file cannot be read.
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
        // A record that does not decode, or lacks the times that every step has, ends the journal like any other damage:
        // records after it are not read.
        let step = OuterStepMetrics::decode(body.as_slice()).ok().filter(|step| step.time.is_some());
        if step.is_some() {
            *offset += (HEADER + body.len()) as u64;
        }
        Ok(step)
    }
}

/// Length and checksum of a body.
fn split_header(header: &[u8; HEADER]) -> (u64, u64) {
    let (length, checksum) = header.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    (number(length), number(checksum))
}

/// Fills a buffer; `false` if the file ends before it is full.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
