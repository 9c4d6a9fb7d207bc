//! Check of a model file while it arrives, in pieces of any size, for a receiver that does not know the model.

use safetensors::tensor::{Dtype, Metadata};

use super::{ModelFileError, is_counter, shorten};
use crate::text::printable;

/// Maximum length in bytes of the header of a file that is received.
pub const MAX_HEADER: u64 = 4 << 20;
/// Bytes of the number at a file's beginning, which is the length of its header.
const PREFIX: usize = size_of::<u64>();
/// Maximum length in characters of the reason why a header is not well-formed.
const REASON: usize = 200;

/// A tensor in the file.
#[derive(Debug)]
struct Tensor {
    name: String,
    dtype: Dtype,
    bytes: u64,
}

/// The check of one file. It needs memory for the header only.
#[derive(Debug)]
pub struct Check {
    length: u64,
    taken: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Length of the header and the header itself, as far as they have arrived.
    Header(Vec<u8>),
    Data(Data),
}

/// The tensors that follow each other, and where in them the file is.
#[derive(Debug)]
struct Data {
    /// In reverse order; the last one is the current one.
    tensors: Vec<Tensor>,
    /// Bytes of the current tensor that have arrived.
    done: u64,
    /// The beginning of a value whose other bytes have not arrived.
    begun: Vec<u8>,
}

impl Check {
    /// Begins the check of a file of `length` bytes.
    ///
    /// # Errors
    /// If no file is as short.
    pub fn new(length: u64) -> Result<Self, ModelFileError> {
        if length < PREFIX as u64 {
            return Err(ModelFileError::Length { expected: PREFIX as u64, found: length });
        }
        Ok(Self { length, taken: 0, stage: Stage::Header(Vec::new()) })
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// If no model file continues with them: the header is too long or not well-formed, tensors overlap, leave gaps or do
    /// not have the length of the file, or a tensor is not f32 or holds a value that is not finite. Counters of PyTorch's
    /// batch normalisation may also be i64.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), ModelFileError> {
        self.taken += bytes.len() as u64;
        if self.taken > self.length {
            return Err(ModelFileError::Length { expected: self.length, found: self.taken });
        }
        if let Stage::Header(header) = &mut self.stage {
            if !gather(header, &mut bytes, PREFIX) {
                return Ok(());
            }
            let end = header_end(header, self.length)?;
            if !gather(header, &mut bytes, end) {
                return Ok(());
            }
            let data = self.length - end as u64;
            self.stage = Stage::Data(Data::new(&header[PREFIX..], data)?);
        }
        match &mut self.stage {
            Stage::Data(data) => data.take(bytes),
            Stage::Header(_) => Ok(()),
        }
    }

    /// Checks that the file is complete.
    ///
    /// # Errors
    /// If it is not.
    pub fn finish(&self) -> Result<(), ModelFileError> {
        if self.taken < self.length || matches!(self.stage, Stage::Header(_)) {
            return Err(ModelFileError::Length { expected: self.length, found: self.taken });
        }
        Ok(())
    }
}

/// Moves bytes into `gathered` until it has `wanted`. Returns whether it has.
fn gather(gathered: &mut Vec<u8>, bytes: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(gathered.len()).min(bytes.len());
    let (first, rest) = bytes.split_at(missing);
    gathered.extend_from_slice(first);
    *bytes = rest;
    gathered.len() >= wanted
}

/// Where the header ends that begins with its length, in a file of `length` bytes.
fn header_end(begun: &[u8], length: u64) -> Result<usize, ModelFileError> {
    let mut prefix = [0; PREFIX];
    prefix.copy_from_slice(&begun[..PREFIX]);
    let found = u64::from_le_bytes(prefix);
    if found > MAX_HEADER {
        return Err(ModelFileError::HeaderLength { found });
    }
    let end = PREFIX as u64 + found;
    if end > length {
        return Err(ModelFileError::Length { expected: end, found: length });
    }
    Ok(end as usize)
}

impl Data {
    fn new(header: &[u8], length: u64) -> Result<Self, ModelFileError> {
        let malformed = |error: serde_json::Error| {
            let reason = error.to_string().chars().take(REASON).collect::<String>();
            ModelFileError::Header { reason: printable(&reason).into_owned() }
        };
        // Also checks that the tensors follow each other without gaps, and that their lengths fit shapes and dtypes.
        let metadata: Metadata = serde_json::from_slice(header).map_err(malformed)?;
        if metadata.data_len() as u64 != length {
            return Err(ModelFileError::Length {
                expected: (PREFIX + header.len() + metadata.data_len()) as u64,
                found: (PREFIX + header.len()) as u64 + length,
            });
        }
        let mut tensors = Vec::new();
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let allowed = info.dtype == Dtype::F32 || (info.dtype == Dtype::I64 && is_counter(&name));
            if !allowed {
                return Err(ModelFileError::Dtype { name: shorten(&name), found: info.dtype });
            }
            let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
            tensors.push(Tensor { name, dtype: info.dtype, bytes });
        }
        if tensors.is_empty() || length == 0 {
            return Err(ModelFileError::Empty);
        }
        tensors.reverse();
        Ok(Self { tensors, done: 0, begun: Vec::new() })
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), ModelFileError> {
        while let Some(tensor) = self.tensors.last() {
            let left = (tensor.bytes - self.done).min(bytes.len() as u64) as usize;
            let (own, rest) = bytes.split_at(left);
            if tensor.dtype == Dtype::F32 {
                check_values(tensor, self.done, &mut self.begun, own)?;
            }
            self.done += left as u64;
            bytes = rest;
            if self.done < tensor.bytes {
                break;
            }
            self.tensors.pop();
            self.done = 0;
        }
        Ok(())
    }
}

/// Checks the values of a tensor whose first `done` bytes came before. `begun` holds the beginning of a value between two
/// pieces; the bytes of a tensor are a multiple of a value's.
fn check_values(
    tensor: &Tensor,
    done: u64,
    begun: &mut Vec<u8>,
    mut bytes: &[u8],
) -> Result<(), ModelFileError> {
    const VALUE: usize = size_of::<f32>();
    let not_finite = |index: usize| ModelFileError::NotFinite { name: shorten(&tensor.name), index };
    let mut first = done as usize / VALUE;
    if !begun.is_empty() {
        if !gather(begun, &mut bytes, VALUE) {
            return Ok(());
        }
        if !is_finite(begun) {
            return Err(not_finite(first));
        }
        begun.clear();
        first += 1;
    }
    let values = bytes.chunks_exact(VALUE);
    begun.extend_from_slice(values.remainder());
    match values.into_iter().position(|value| !is_finite(value)) {
        Some(index) => Err(not_finite(first + index)),
        None => Ok(()),
    }
}

/// Whether four little-endian bytes are a finite f32.
fn is_finite(value: &[u8]) -> bool {
    value.try_into().is_ok_and(|value| f32::from_le_bytes(value).is_finite())
}

#[cfg(test)]
mod tests;
