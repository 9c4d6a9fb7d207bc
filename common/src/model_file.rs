//! Model files: safetensors files with every tensor under its PyTorch name.

mod check;
mod error;
mod metadata;
mod names;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::Serialize;

use crate::flat_buffer::FlatBuffer;
use crate::layout::{Layout, TensorEntry, TensorKind};
use crate::model_state::ModelState;

pub use check::{Check, MAX_HEADER};
pub use error::ModelFileError;
pub use metadata::{CLASSES, DATA, JOB, class_names, data_report, list_text, metadata, with_metadata};

/// Last part of the names of the counters that PyTorch's batch normalisation stores with its running statistics. They
/// are no part of a model's function: PyTorch uses them only for a running average without momentum.
const COUNTER: &str = "num_batches_tracked";
/// Last part of the name of the running statistic that has such a counter.
const COUNTED: &str = "running_mean";
/// The length of a header is a multiple of this, so that tensors are aligned for a reader that maps the file.
const ALIGNMENT: usize = 8;
/// Bytes that are collected before they are written, because many tensors are small.
const BUFFER: usize = 1 << 20;

struct TensorView<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    fn f32(shape: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes }
    }

    /// A scalar counter of 0.
    fn counter() -> Self {
        Self { dtype: Dtype::I64, shape: &[], bytes: &[0; size_of::<i64>()] }
    }
}

/// The header of a file. It is written here and not by the library, which writes `__metadata__` in the order of a hash
/// map, so in a different order each time.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<&'a str, String>,
    #[serde(flatten)]
    tensors: Metadata,
}

impl<'a> Header<'a> {
    /// The header for tensors that follow each other in the file in this order.
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

    /// The header as in the file, padded with spaces.
    fn into_bytes(self) -> Result<Vec<u8>, SafeTensorError> {
        let mut bytes = serde_json::to_vec(&self)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), b' ');
        Ok(bytes)
    }
}

/// Writes a file whose bytes depend on the tensors and the metadata alone.
fn write_to<'a>(
    out: &mut impl Write,
    tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>,
    metadata: &BTreeMap<&str, String>,
) -> Result<(), ModelFileError> {
    let mut tensors: Vec<_> = tensors.collect();
    // Larger elements first, then by name, as the library does: every tensor then begins at a multiple of the size of
    // its elements.
    tensors.sort_by(|(left_name, left), (right_name, right)| {
        right.dtype.cmp(&left.dtype).then_with(|| left_name.cmp(right_name))
    });
    let header = Header::new(&tensors, metadata)?.into_bytes()?;
    let mut write = || {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| out.write_all(tensor.bytes))?;
        out.flush()
    };
    write().map_err(|source| ModelFileError::Write { source })
}

/// Creates the file at `path` and writes it as [`write_to`] does.
fn write_file<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>,
    metadata: &BTreeMap<&str, String>,
) -> Result<(), ModelFileError> {
    let file = File::create(path).map_err(|source| ModelFileError::Write { source })?;
    write_to(&mut BufWriter::with_capacity(BUFFER, file), tensors, metadata)
}

fn byte_range(entry: &TensorEntry) -> std::ops::Range<usize> {
    entry.range.start * size_of::<f32>()..entry.range.end * size_of::<f32>()
}

/// Whether this is the name of a counter of PyTorch's batch normalisation, which models here do not have.
pub fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// Name of the counter that PyTorch expects with a running statistic if it loads a file strictly; `None` for other
/// tensors.
fn counter_of(entry: &TensorEntry) -> Option<String> {
    let prefix = entry.spec.name.strip_suffix(COUNTED)?;
    let is_last_part = prefix.is_empty() || prefix.ends_with('.');
    (entry.spec.kind == TensorKind::RunningStatistic && is_last_part).then(|| format!("{prefix}{COUNTER}"))
}

/// Writes parameters and running statistics to a new file at `path`, without copying them. The file also has a
/// `num_batches_tracked` of 0 for each `running_mean`, because PyTorch would not load it strictly without. Equal
/// arguments give equal files, byte for byte.
///
/// # Errors
/// If the file cannot be written.
pub fn write<T: Borrow<FlatBuffer>>(
    path: &Path,
    layout: &Layout,
    weights: &ModelState<T>,
    metadata: &BTreeMap<&str, String>,
) -> Result<(), ModelFileError> {
    let counters: Vec<String> = layout.entries().iter().filter_map(counter_of).collect();
    write_file(path, tensors_of(layout, weights, &counters), metadata)
}

/// The bytes of the file that [`write()`] writes.
///
/// # Errors
/// If a header cannot be made of the layout.
pub fn to_bytes<T: Borrow<FlatBuffer>>(
    layout: &Layout,
    weights: &ModelState<T>,
    metadata: &BTreeMap<&str, String>,
) -> Result<Vec<u8>, ModelFileError> {
    let counters: Vec<String> = layout.entries().iter().filter_map(counter_of).collect();
    let mut bytes = Vec::new();
    write_to(&mut bytes, tensors_of(layout, weights, &counters), metadata)?;
    Ok(bytes)
}

/// All tensors of a model's file.
fn tensors_of<'a, T: Borrow<FlatBuffer>>(
    layout: &'a Layout,
    weights: &'a ModelState<T>,
    counters: &'a [String],
) -> impl Iterator<Item = (&'a str, TensorView<'a>)> {
    let tensors = layout.entries().iter().map(|entry| {
        let flat_buffer: &FlatBuffer = weights[entry.spec.kind].borrow();
        let view = TensorView::f32(&entry.spec.shape, &flat_buffer.as_bytes()[byte_range(entry)]);
        (entry.spec.name.as_str(), view)
    });
    tensors.chain(counters.iter().map(|name| (name.as_str(), TensorView::counter())))
}

/// Writes flat buffers to a new file at `path`, each as one tensor under the given name, for state that only this
/// service reads. Equal arguments give equal files, byte for byte.
///
/// # Errors
/// If the file cannot be written.
pub fn write_flat(path: &Path, flat_buffers: &[(&str, &FlatBuffer)]) -> Result<(), ModelFileError> {
    let shapes: Vec<[usize; 1]> = flat_buffers.iter().map(|(_, flat_buffer)| [flat_buffer.len()]).collect();
    let tensors = flat_buffers
        .iter()
        .zip(&shapes)
        .map(|((name, flat_buffer), shape)| (*name, TensorView::f32(shape, flat_buffer.as_bytes())));
    write_file(path, tensors, &BTreeMap::new())
}

/// Reads the names and flat buffers of a file that [`write_flat`] wrote.
///
/// # Errors
/// If the file is damaged or holds a tensor that is not f32.
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

/// Reads parameters and running statistics of a known layout. PyTorch's counters are ignored.
///
/// # Errors
/// If the file is damaged, lacks a tensor, has an unknown one, or a tensor has another shape, another dtype or a value
/// that is not finite.
pub fn read(bytes: &[u8], layout: &Layout) -> Result<ModelState<FlatBuffer>, ModelFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut weights = layout.lengths().map(FlatBuffer::zeros);
    for entry in layout.entries() {
        copy_tensor(&file, entry, &mut weights[entry.spec.kind]).map_err(|error| match error {
            ModelFileError::Missing { name, .. } => {
                let found = names::explained(&file, layout, &name);
                ModelFileError::Missing { name, found }
            }
            other => other,
        })?;
    }
    let known: std::collections::HashSet<&str> =
        layout.entries().iter().map(|entry| entry.spec.name.as_str()).collect();
    let mut names = file.names();
    names.sort_unstable();
    match names.iter().find(|name| !known.contains(**name) && !is_counter(name)) {
        Some(unknown) => Err(ModelFileError::Unknown { name: shorten(unknown) }),
        None => Ok(weights),
    }
}

fn copy_tensor(
    file: &SafeTensors<'_>,
    entry: &TensorEntry,
    flat_buffer: &mut FlatBuffer,
) -> Result<(), ModelFileError> {
    let name = entry.spec.name.clone();
    let Ok(tensor) = file.tensor(&name) else {
        return Err(ModelFileError::Missing { name, found: String::new() });
    };
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
