//! Reads tensors of untrusted safetensors files: nothing is allocated for sizes that the file only claims.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};

use super::loading::{Loading, Watched};
use super::source::Source;
use super::{DataError, FileProblem, MAX_CLASSES};

/// Longest header that is read, in bytes: enough for thousands of tensors, of which two are used.
const MAX_HEADER: u64 = 1 << 20;
/// Bytes in memory for each byte of a header while it is read, at most: an extent of two characters becomes eight bytes,
/// in lists that grow by doubling.
const EXPANSION: u64 = 24;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;
/// Bytes that are read at once; a multiple of every element's size.
const BLOCK: usize = 1 << 18;

/// An open safetensors file whose header describes exactly the bytes of the file.
pub(super) struct TensorFile {
    source: Source,
    file: Watched<File>,
    /// Offset of the first tensor's first byte.
    data: u64,
    /// The tensors that were asked for and are there.
    tensors: BTreeMap<&'static str, TensorInfo>,
}

impl TensorFile {
    /// Opens a file with these tensors and checks its header.
    pub(super) fn open<const N: usize>(
        source: Source,
        names: [&'static str; N],
        loading: &Loading,
    ) -> Result<Self, DataError> {
        let mut file = loading.watch(source.open()?);
        let _lent = loading.lend(MAX_HEADER.min(source.length()?) * EXPANSION)?;
        let header = read_header(&mut file, source.length()?);
        let (data, metadata) = header.map_err(|problem| source.error(problem))?;
        let of = |name| metadata.info(name).map(|info| (name, info.clone()));
        let tensors = names.into_iter().filter_map(of).collect();
        Ok(Self { source, file, data, tensors })
    }

    /// An error about this file.
    pub(super) fn error(&self, problem: FileProblem) -> DataError {
        self.source.error(problem)
    }

    /// Shape of a tensor.
    pub(super) fn shape(&self, tensor: &'static str) -> Result<Vec<usize>, DataError> {
        self.info(tensor).map(|info| info.shape.clone())
    }

    /// Type of a tensor's values.
    pub(super) fn dtype(&self, tensor: &'static str) -> Result<Dtype, DataError> {
        self.info(tensor).map(|info| info.dtype)
    }

    /// All values of a u8 tensor, row-major.
    pub(super) fn read_pixels(&mut self, tensor: &'static str) -> Result<Vec<u8>, DataError> {
        let info = self.info(tensor)?.clone();
        if info.dtype != Dtype::U8 {
            let expected = "U8 as in the training split";
            return Err(self.error(FileProblem::Type { tensor, found: info.dtype, expected }));
        }
        self.read(&info, |_, [value]| Ok(value))
    }

    /// All values of an f32 tensor of rank 2 or more, row-major.
    pub(super) fn read_inputs(&mut self, tensor: &'static str) -> Result<Vec<f32>, DataError> {
        let info = self.info(tensor)?.clone();
        if info.dtype != Dtype::F32 {
            return Err(self.error(FileProblem::Type {
                tensor,
                found: info.dtype,
                expected: "F32, or U8 in all splits",
            }));
        }
        let row: usize = info.shape.iter().skip(1).product();
        self.read(&info, |index, bytes: [u8; 4]| {
            let value = f32::from_le_bytes(bytes);
            let infinite = || refuse(tensor, index / row, value, "a finite number".to_owned());
            if value.is_finite() { Ok(value) } else { Err(infinite()) }
        })
    }

    /// All values of an integer tensor of rank 1, each of which must be a class below `classes`.
    pub(super) fn read_targets(
        &mut self,
        tensor: &'static str,
        classes: usize,
    ) -> Result<Vec<u32>, DataError> {
        let info = self.info(tensor)?.clone();
        let class = |row: usize, value: i64| {
            let known = u32::try_from(value).ok().filter(|&class| (class as usize) < classes);
            known.ok_or_else(|| refuse(tensor, row, value, format!("a class from 0 to {}", classes - 1)))
        };
        match info.dtype {
            Dtype::I64 => self.read(&info, |row, bytes| class(row, i64::from_le_bytes(bytes))),
            Dtype::I32 => self.read(&info, |row, bytes| class(row, i32::from_le_bytes(bytes).into())),
            Dtype::U32 => self.read(&info, |row, bytes| class(row, u32::from_le_bytes(bytes).into())),
            Dtype::U8 => self.read(&info, |row, bytes| class(row, u8::from_le_bytes(bytes).into())),
            found => Err(self.error(FileProblem::Type { tensor, found, expected: "I64, I32, U32 or U8" })),
        }
    }

    fn info(&self, tensor: &'static str) -> Result<&TensorInfo, DataError> {
        let info = self.tensors.get(tensor).ok_or_else(|| self.error(FileProblem::NoTensor { tensor }))?;
        if info.shape.len() > MAX_RANK {
            let found = info.shape.iter().copied().take(MAX_RANK + 1).collect();
            let expected = format!("at most {MAX_RANK} dimensions");
            return Err(self.error(FileProblem::Shape { tensor, found, expected }));
        }
        Ok(info)
    }

    /// Reads a tensor's elements of `N` bytes each, block by block, and converts them.
    fn read<const N: usize, T>(
        &mut self,
        info: &TensorInfo,
        mut convert: impl FnMut(usize, [u8; N]) -> Result<T, FileProblem>,
    ) -> Result<Vec<T>, DataError> {
        let (start, end) = info.data_offsets;
        let mut result = Vec::with_capacity((end - start) / N);
        let mut block = vec![0_u8; BLOCK.min(end - start)];
        let mut read = || -> Result<(), FileProblem> {
            self.file.seek(SeekFrom::Start(self.data + start as u64)).map_err(FileProblem::Io)?;
            let mut left = end - start;
            while left > 0 {
                let piece = block.len().min(left);
                self.file.read_exact(&mut block[..piece]).map_err(FileProblem::Io)?;
                for bytes in block[..piece].as_chunks::<N>().0 {
                    result.push(convert(result.len(), *bytes)?);
                }
                left -= piece;
            }
            Ok(())
        };
        match read() {
            Ok(()) => Ok(result),
            Err(problem) => Err(self.error(problem)),
        }
    }
}

/// Bound of labels if the number of classes is not known yet.
pub(super) const ANY_CLASS: usize = MAX_CLASSES;

fn refuse(tensor: &'static str, row: usize, found: impl ToString, expected: String) -> FileProblem {
    FileProblem::Value { tensor, row, found: found.to_string(), expected }
}

/// Reads and checks the header of a file of `length` bytes; returns it with the offset of the tensors' bytes.
fn read_header(file: &mut impl Read, length: u64) -> Result<(u64, Metadata), FileProblem> {
    if length < 8 {
        return Err(FileProblem::TooShort { found: length });
    }
    let mut prefix = [0_u8; 8];
    file.read_exact(&mut prefix).map_err(FileProblem::Io)?;
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER {
        return Err(FileProblem::HeaderTooLong { found: header, limit: MAX_HEADER });
    }
    if header > length - 8 {
        return Err(FileProblem::HeaderBeyondEnd { header, length });
    }
    let mut text = vec![0_u8; header as usize];
    file.read_exact(&mut text).map_err(FileProblem::Io)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(FileProblem::HeaderSyntax)?;
    let expected = (8 + header).saturating_add(metadata.data_len() as u64);
    if expected != length {
        return Err(FileProblem::Length { found: length, expected });
    }
    Ok((8 + header, metadata))
}
