//! Model files: safetensors with every tensor under its PyTorch name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::Serialize;

use crate::flat_buffer::FlatBuffer;
use crate::layout::{Layout, TensorEntry, TensorKind};

/// Last part of the names of the counters that PyTorch's batch normalisation stores beside its statistics, and that
/// are no part of a model's function: it reads them only where the running average has no momentum.
const COUNTER: &str = "num_batches_tracked";
/// Beside which statistic there is such a counter.
const COUNTED: &str = "running_mean";
/// The length of a header is a multiple of it, so that a reader that maps a file finds its tensors aligned.
const ALIGNMENT: usize = 8;
/// Bytes that are gathered before they are written: many tensors are small.
const BUFFER: usize = 1 << 20;

/// What is wrong with a model file.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a usable safetensors file: {source}")]
    Format {
        /// What the reader says.
        #[from]
        source: SafeTensorError,
    },
    /// A tensor of the model is not in the file.
    #[error("tensor {name:?}: missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// The file holds a tensor that the model does not have.
    #[error("tensor {name:?}: the model has none of that name")]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// Another shape than the model's.
    #[error("tensor {name:?}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The model's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// Another type than f32.
    #[error("tensor {name:?}: expected F32, found {found:?}")]
    Dtype {
        /// The tensor.
        name: String,
        /// The file's.
        found: Dtype,
    },
    /// NaN or infinity.
    #[error("tensor {name:?}: number {index} is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Which number, row-major.
        index: usize,
    },
}

struct TensorView<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    fn f32(shape: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes }
    }

    /// A counter at 0.
    fn counter() -> Self {
        Self { dtype: Dtype::I64, shape: &[], bytes: &[0; size_of::<i64>()] }
    }
}

/// The header of a file. The library would write `__metadata__` in the order of a hash map, another one each time.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<&'a str, String>,
    #[serde(flatten)]
    tensors: Metadata,
}

impl<'a> Header<'a> {
    /// The header for tensors that lie in the file one after the other in this order.
    fn new(
        tensors: &[(&str, TensorView<'_>)],
        metadata: &'a BTreeMap<&'a str, String>,
    ) -> Result<Self, SafeTensorError> {
        let mut end = 0;
        let infos = tensors.iter().map(|(name, tensor)| {
            let begin = end;
            end += tensor.bytes.len();
            let info =
                TensorInfo { dtype: tensor.dtype, shape: tensor.shape.to_vec(), data_offsets: (begin, end) };
            ((*name).to_owned(), info)
        });
        Ok(Self { metadata, tensors: Metadata::new(None, infos.collect())? })
    }

    /// The header as it stands in the file, filled up with spaces.
    fn into_bytes(self) -> Result<Vec<u8>, SafeTensorError> {
        let mut bytes = serde_json::to_vec(&self)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), b' ');
        Ok(bytes)
    }
}

/// Writes a new file whose bytes follow from the tensors and the metadata alone.
fn write_file<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>,
    metadata: &BTreeMap<&str, String>,
) -> Result<(), SafeTensorError> {
    let mut tensors: Vec<_> = tensors.collect();
    // Larger elements first, then by name, as the library writes files: every tensor begins at a multiple of its
    // elements' size.
    tensors.sort_by(|(left_name, left), (right_name, right)| {
        right.dtype.cmp(&left.dtype).then_with(|| left_name.cmp(right_name))
    });
    let header = Header::new(&tensors, metadata)?.into_bytes()?;
    let mut file = BufWriter::with_capacity(BUFFER, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (_, tensor) in &tensors {
        file.write_all(tensor.bytes)?;
    }
    Ok(file.flush()?)
}

fn byte_range(entry: &TensorEntry) -> std::ops::Range<usize> {
    entry.range.start * size_of::<f32>()..entry.range.end * size_of::<f32>()
}

/// Whether a tensor of this name is a counter of PyTorch's that no model here has.
pub fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// The counter that PyTorch expects beside a statistic when it loads a file strictly.
fn counter_of(entry: &TensorEntry) -> Option<String> {
    let prefix = entry.spec.name.strip_suffix(COUNTED)?;
    let is_last_part = prefix.is_empty() || prefix.ends_with('.');
    (entry.spec.kind == TensorKind::Statistic && is_last_part).then(|| format!("{prefix}{COUNTER}"))
}

/// Writes parameters and statistics to a new file at `path`, without copying them. Each `running_mean` gets a
/// `num_batches_tracked` of 0 beside it, without which PyTorch would not load the file strictly. Equal arguments give
/// equal files, byte for byte.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: &Path,
    layout: &Layout,
    parameters: &FlatBuffer,
    statistics: &FlatBuffer,
    metadata: &BTreeMap<&str, String>,
) -> Result<(), ModelFileError> {
    let counters: Vec<String> = layout.entries().iter().filter_map(counter_of).collect();
    let tensors = layout.entries().iter().map(|entry| {
        let flat_buffer = match entry.spec.kind {
            TensorKind::Parameter => parameters,
            TensorKind::Statistic => statistics,
        };
        let view = TensorView::f32(&entry.spec.shape, &flat_buffer.as_bytes()[byte_range(entry)]);
        (entry.spec.name.as_str(), view)
    });
    let counters = counters.iter().map(|name| (name.as_str(), TensorView::counter()));
    Ok(write_file(path, tensors.chain(counters), metadata)?)
}

/// Writes flat buffers under names of their own to a new file at `path`, for state that only this service reads. Equal
/// arguments give equal files, byte for byte.
///
/// # Errors
/// When the file cannot be written.
pub fn write_flat(path: &Path, flat_buffers: &[(&str, &FlatBuffer)]) -> Result<(), ModelFileError> {
    let shapes: Vec<[usize; 1]> = flat_buffers.iter().map(|(_, flat_buffer)| [flat_buffer.len()]).collect();
    let tensors = flat_buffers
        .iter()
        .zip(&shapes)
        .map(|((name, flat_buffer), shape)| (*name, TensorView::f32(shape, flat_buffer.as_bytes())));
    Ok(write_file(path, tensors, &BTreeMap::new())?)
}

/// Reads what [`write_flat`] wrote.
///
/// # Errors
/// When the file is damaged or holds something else than flat f32 tensors.
pub fn read_flat(bytes: &[u8]) -> Result<Vec<(String, FlatBuffer)>, ModelFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut flat_buffers = Vec::new();
    for (name, tensor) in file.tensors() {
        if tensor.dtype() != Dtype::F32 {
            return Err(ModelFileError::Dtype { name, found: tensor.dtype() });
        }
        let mut flat_buffer = FlatBuffer::zeros(tensor.data().len() / size_of::<f32>());
        flat_buffer.as_bytes_mut().copy_from_slice(tensor.data());
        flat_buffers.push((name, flat_buffer));
    }
    Ok(flat_buffers)
}

/// Reads parameters and statistics of a known layout.
///
/// # Errors
/// When the file is damaged, lacks a tensor, has an unknown one, or holds another shape or type or numbers
/// that are not finite.
pub fn read(bytes: &[u8], layout: &Layout) -> Result<(FlatBuffer, FlatBuffer), ModelFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut parameters = FlatBuffer::zeros(layout.parameters());
    let mut statistics = FlatBuffer::zeros(layout.statistics());
    for entry in layout.entries() {
        let flat_buffer = match entry.spec.kind {
            TensorKind::Parameter => &mut parameters,
            TensorKind::Statistic => &mut statistics,
        };
        copy_tensor(&file, entry, flat_buffer)?;
    }
    let known: std::collections::HashSet<&str> =
        layout.entries().iter().map(|entry| entry.spec.name.as_str()).collect();
    let mut names = file.names();
    names.sort_unstable();
    match names.iter().find(|name| !known.contains(**name) && !is_counter(name)) {
        Some(unknown) => Err(ModelFileError::Unknown { name: shorten(unknown) }),
        None => Ok((parameters, statistics)),
    }
}

fn copy_tensor(
    file: &SafeTensors<'_>,
    entry: &TensorEntry,
    flat_buffer: &mut FlatBuffer,
) -> Result<(), ModelFileError> {
    let name = entry.spec.name.clone();
    let Ok(tensor) = file.tensor(&name) else { return Err(ModelFileError::Missing { name }) };
    if tensor.dtype() != Dtype::F32 {
        return Err(ModelFileError::Dtype { name, found: tensor.dtype() });
    }
    if tensor.shape() != entry.spec.shape {
        return Err(ModelFileError::Shape {
            name,
            expected: entry.spec.shape.clone(),
            found: tensor.shape().to_vec(),
        });
    }
    flat_buffer.as_bytes_mut()[byte_range(entry)].copy_from_slice(tensor.data());
    match flat_buffer[entry.range.clone()].iter().position(|number| !number.is_finite()) {
        Some(index) => Err(ModelFileError::NotFinite { name, index }),
        None => Ok(()),
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests;
