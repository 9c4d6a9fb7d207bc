//! Model files: what is read is exactly what the file contains, element by element.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_file;
use lookbehind_common::model_state::ModelState;
use serde_json::Value;

use crate::{memory, scratch_folder};

/// Three tensors of different ranks and kinds.
static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let tensor =
        |name: &str, shape: &[usize], kind| TensorSpec { name: name.into(), shape: shape.to_vec(), kind };
    Layout::new([
        tensor("layers.0.weight", &[2, 3], TensorKind::Parameter),
        tensor("layers.0.bias", &[2], TensorKind::Parameter),
        tensor("norm.running_mean", &[2], TensorKind::RunningStatistic),
    ])
    .expect("a layout")
});

/// Checks the file unchanged, and with a header length that fits its braces, so that changes of the header get past the
/// length check.
pub(crate) fn check(bytes: &[u8]) -> bool {
    read_flat(bytes);
    let mended = mend(bytes);
    read_flat(&mended);
    read(&mended);
    read(bytes)
}

/// Takes everything up to the last brace as the header.
pub(crate) fn mend(bytes: &[u8]) -> Vec<u8> {
    let Some((_, rest)) = bytes.split_first_chunk::<8>() else { return bytes.to_vec() };
    let header = rest.iter().rposition(|&byte| byte == b'}').map_or(0, |brace| brace + 1);
    [&(header as u64).to_le_bytes()[..], rest].concat()
}

/// Header and data, by the specification of the format.
pub(crate) fn parts(bytes: &[u8]) -> (Value, &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<8>().expect("an accepted file has a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).expect("an accepted header"), data)
}

/// A tensor's shape and bytes, according to the header.
pub(crate) fn tensor<'a>(header: &Value, data: &'a [u8], name: &str) -> (Vec<usize>, &'a [u8]) {
    let numbers = |value: &Value| -> Vec<usize> {
        let numbers = value.as_array().expect("a list").iter();
        numbers.map(|number| number.as_u64().expect("a whole number") as usize).collect()
    };
    let offsets = numbers(&header[name]["data_offsets"]);
    (numbers(&header[name]["shape"]), &data[offsets[0]..offsets[1]])
}

fn read(bytes: &[u8]) -> bool {
    let limit = (1 << 16) + 100 * bytes.len();
    let Ok(weights) = memory::within(limit, || model_file::read(bytes, &LAYOUT)) else { return false };
    assert_eq!(weights.lengths(), LAYOUT.lengths());
    let (header, data) = parts(bytes);
    for entry in LAYOUT.entries() {
        let (shape, held) = tensor(&header, data, &entry.spec.name);
        assert_eq!(shape, entry.spec.shape);
        let elements = &weights[entry.spec.kind][entry.range.clone()];
        assert!(elements.iter().all(|element| element.is_finite()), "{}", entry.spec.name);
        let found: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        assert_eq!(found, held, "{}", entry.spec.name);
    }
    let known = |name: &str| LAYOUT.entries().iter().any(|entry| entry.spec.name == name);
    for name in header.as_object().expect("an object").keys() {
        assert!(known(name) || name == "__metadata__" || name.ends_with("num_batches_tracked"), "{name}");
    }
    is_written_back(&weights);
    true
}

/// What was read is written to a file and read back unchanged.
fn is_written_back(weights: &ModelState<FlatBuffer>) {
    let folder = scratch_folder();
    let path: &Path = &folder.path().join("again.safetensors");
    model_file::write(path, &LAYOUT, weights, &BTreeMap::new()).expect("a writable file");
    let again = std::fs::read(path).expect("the file");
    let again = model_file::read(&again, &LAYOUT).expect("a file that was just written");
    for kind in [TensorKind::Parameter, TensorKind::RunningStatistic] {
        assert_eq!(again[kind].as_bytes(), weights[kind].as_bytes());
    }
}

fn read_flat(bytes: &[u8]) {
    let limit = (1 << 16) + 100 * bytes.len();
    let Ok(flat_buffers) = memory::within(limit, || model_file::read_flat(bytes)) else { return };
    let (header, data) = parts(bytes);
    for (name, flat_buffer) in &flat_buffers {
        assert_eq!(flat_buffer.as_bytes(), tensor(&header, data, name).1, "{name}");
    }
    let tensors = header.as_object().expect("an object").keys().filter(|name| *name != "__metadata__");
    assert_eq!(tensors.count(), flat_buffers.len());
    assert_eq!(
        flat_buffers.iter().map(|(_, flat_buffer)| flat_buffer.as_bytes().len()).sum::<usize>(),
        data.len()
    );
}
