//! TensorBoard's event file: TFRecords of `Event` messages, of which only scalars are used.
//!
//! A record consists of a length, its checksum, the message and its checksum, all little-endian. A checksum is a
//! CRC-32C, rotated and increased by a constant so that a record may contain records (the format's "masked" form).
//!
//! Equal jobs have equal events except for their times. The file name consists of a time only, because TensorBoard
//! takes the file of a repeated run for a new one only if its name is larger.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lookbehind_proto::v1;
use prost::Message;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::CliError;
use crate::watch::time_of;

/// File names begin and end with these. TensorBoard recognizes its files by the prefix.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".lookbehind";
/// The version that TensorBoard expects in the first event.
const FILE_VERSION: &str = "brain.Event:2";

/// The used part of `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Scalars>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalars {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// The used part of `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    // Optional, so that a zero is encoded too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The event file. It grows while the job runs.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    clock: f64,
}

impl TensorBoard {
    /// Creates a file in `folder`, and the folder if necessary. The file must not be there yet, and the folder must not
    /// be a link.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(folder: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(folder).map_err(|error| CliError::write(folder, error))?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        let name = format!("{PREFIX}{:010}{SUFFIX}", clock as u64);
        let path = folder.join(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            open(folder).and_then(|folder| Ok(openat(folder, name, flags, Mode::from_raw_mode(0o666))?));
        let file = File::from(file.map_err(|error| CliError::write(&path, error))?);
        let mut board = Self { path, file, clock };
        board.write(Event { file_version: Some(FILE_VERSION.to_owned()), ..Event::default() })?;
        // Further events use the job's own times. A run that is fetched later thus has the same times.
        board.clock = 0.0;
        Ok(board)
    }

    /// Sets the clock to the time at which the job began to run.
    pub fn notice(&mut self, notice: &v1::JobNotice) {
        if let (v1::JobState::Running, Some(at)) = (notice.state(), &notice.at) {
            self.clock = self.clock.max(at.seconds as f64 + f64::from(at.nanos) * 1e-9);
        }
    }

    /// Adds the scalars of an outer step, and advances the clock by the duration of the step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn step(&mut self, step: &v1::OuterStepMetrics) -> Result<(), CliError> {
        self.clock += time_of(step).total;
        let scalar =
            |(tag, value): (&str, f64)| Scalar { tag: tag.to_owned(), simple_value: Some(value as f32) };
        let value = scalars(step).into_iter().map(scalar).collect();
        let step = i64::try_from(step.outer_step).unwrap_or(i64::MAX);
        self.write(Event { step, summary: Some(Scalars { value }), ..Event::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), CliError> {
        let message = Event { wall_time: self.clock, ..event }.encode_to_vec();
        self.file.write_all(&record(&message)).map_err(|error| CliError::write(&self.path, error))
    }
}

/// Names and values of the curves.
fn scalars(step: &v1::OuterStepMetrics) -> Vec<(&'static str, f64)> {
    let mut scalars = vec![("loss", step.loss), ("accuracy", step.accuracy)];
    let norms =
        [("gradient_norm", step.gradient_norm), ("mean_shard_gradient_norm", step.mean_shard_gradient_norm)];
    scalars.extend(norms.into_iter().filter_map(|(name, norm)| Some((name, norm?))));
    scalars.extend([("learning_rate", step.learning_rate), ("alpha", step.alpha)]);
    let range = [("alpha_min", step.alpha_min), ("alpha_max", step.alpha_max)];
    scalars.extend(range.into_iter().filter_map(|(name, alpha)| Some((name, alpha?))));
    let tests = [
        (["test/loss", "test/accuracy"], &step.test),
        (["validation/loss", "validation/accuracy"], &step.validation),
        (["clean/loss", "clean/accuracy"], &step.clean),
        (["memorised/loss", "memorised/accuracy"], &step.memorised),
    ];
    for ([loss, accuracy], test) in tests {
        scalars.extend(test.iter().flat_map(|test| [(loss, test.loss), (accuracy, test.accuracy)]));
    }
    scalars
}

/// Removes the event files of an earlier run and leaves other files unchanged.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove_earlier(folder: &Path) -> Result<(), CliError> {
    let inside = match open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| CliError::write(folder, error))?,
    };
    let system = |error: Errno| CliError::write(folder, error.into());
    for entry in Dir::read_from(&inside).map_err(system)? {
        let entry = entry.map_err(system)?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes()) {
            unlinkat(&inside, entry.file_name(), AtFlags::empty()).map_err(system)?;
        }
    }
    Ok(())
}

/// Opens a folder, unless it is a link. What happens in it by this handle happens there, whatever gets its name later.
fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// Encodes a message as a record.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(message.len() + 16);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(message);
    bytes.extend(masked(message).to_le_bytes());
    bytes
}

/// The masked checksum of `bytes`.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
