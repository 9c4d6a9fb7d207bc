//! Model files: safetensors files with every tensor under its PyTorch name.

mod check;
mod error;
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
pub use names::without_prefix;

/// Last part of the names of the counters that PyTorch's batch normalisation stores with its running statistics. They
/// are no part of a model's function: PyTorch uses them only for a running average without momentum.
const COUNTER: &str = "num_batches_tracked";
/// Last part of the name of the running statistic that has such a counter.
const COUNTED: &str = "running_mean";
/// Key of the metadata with the names of the classes, in the order of the model's outputs: a list in JSON.
pub const CLASSES: &str = "classes";
/// Key of the metadata with what was read of the data that the model was trained on: a list of lines in JSON.
pub const DATA: &str = "data";
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

/// Writes a new file whose bytes depend on the tensors and the metadata alone.
fn write_file<'a>(
    path: &Path,
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
    let write = || {
        let mut file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, tensor) in &tensors {
            file.write_all(tensor.bytes)?;
        }
        file.flush()
    };
    write().map_err(|source| ModelFileError::Write { source })
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
    let tensors = layout.entries().iter().map(|entry| {
        let flat_buffer: &FlatBuffer = weights[entry.spec.kind].borrow();
        let view = TensorView::f32(&entry.spec.shape, &flat_buffer.as_bytes()[byte_range(entry)]);
        (entry.spec.name.as_str(), view)
    });
    let counters = counters.iter().map(|name| (name.as_str(), TensorView::counter()));
    write_file(path, tensors.chain(counters), metadata)
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

/// The value of [`CLASSES`] or [`DATA`] for these names or lines.
pub fn list_text(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// The names of the classes that a model file has in its metadata; empty if it has none.
///
/// # Errors
/// If the file is damaged, or its names are not a list of texts.
pub fn class_names(bytes: &[u8]) -> Result<Vec<String>, ModelFileError> {
    list(bytes, CLASSES)
}

/// What a model file's metadata say of the data that it was trained on, in lines; empty if they say nothing.
///
/// # Errors
/// If the file is damaged, or what it says is not a list of texts.
pub fn data_report(bytes: &[u8]) -> Result<Vec<String>, ModelFileError> {
    list(bytes, DATA)
}

/// The list of texts that the metadata have under a key; empty if they do not have it.
fn list(bytes: &[u8], key: &str) -> Result<Vec<String>, ModelFileError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    text.map_or(Ok(Vec::new()), |text| {
        serde_json::from_str(text)
            .map_err(|error| ModelFileError::Header { reason: format!("metadata {key:?}: {error}") })
    })
}

fn shorten(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests;
