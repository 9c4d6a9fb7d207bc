//! The format in which the gradients of a job are added and exchanged (`train.exchange`).
//!
//! A gradient is rounded when it is formed: that of each shard, and each sum of two siblings of the reduction tree. The
//! sum itself is f32, and so is the memory in which gradients lie: only where they travel do they take the bytes of the
//! format. Since each value is one of the format by then, nothing is lost on the way, and a result does not depend on
//! which partials travelled.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use half::bf16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::flat_buffer::{FlatBuffer, shared_bytes, values_of};
use crate::optimizer::elementwise;

/// The format in which the gradients of a job are added and exchanged. Nothing else of a partial is rounded, and neither
/// are weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeFormat {
    /// Not rounded.
    #[default]
    F32,
    /// bfloat16: the 8 leading bits of the significand, rounded to nearest, ties to even.
    Bf16,
}

/// A finite value became infinite when it was rounded.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("value {index} becomes infinite when it is rounded")]
pub struct Overflow {
    /// Index of the first value that is infinite now.
    pub index: usize,
}

/// Elements per task, as in the optimizer's kernels.
const GRAIN: usize = 1 << 17;

impl ExchangeFormat {
    /// The name as in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element where it travels.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<bf16>(),
        }
    }

    /// Rounds values.
    ///
    /// # Errors
    /// If a finite value becomes infinite. All values are rounded nevertheless.
    pub fn round(self, values: &mut [f32]) -> Result<(), Overflow> {
        if self == Self::F32 {
            return Ok(());
        }
        let overflows = |values: &mut [f32]| {
            values.iter_mut().fold(false, |overflows, value| {
                let exact = std::mem::replace(value, rounded(*value));
                overflows | (exact.is_finite() & value.is_infinite())
            })
        };
        let overflows = match values.len() {
            ..=GRAIN => overflows(values),
            _ => values.par_chunks_mut(GRAIN).map(overflows).reduce(|| false, |left, right| left | right),
        };
        let first = overflows.then(|| values.iter().position(|value| value.is_infinite())).flatten();
        first.map_or(Ok(()), |index| Err(Overflow { index }))
    }

    /// `left += right` for gradients of two siblings of the reduction tree: the sum of two f32 values, rounded. Both must
    /// have the same length.
    pub fn add_assign(self, left: &mut [f32], right: &[f32]) {
        debug_assert_eq!(left.len(), right.len());
        if self == Self::F32 {
            return elementwise::add_assign(left, right);
        }
        let add = |(left, right): (&mut [f32], &[f32])| {
            for (left, right) in left.iter_mut().zip(right) {
                *left = rounded(*left + right);
            }
        };
        match left.len() {
            ..=GRAIN => add((left, right)),
            _ => left.par_chunks_mut(GRAIN).zip(right.par_chunks(GRAIN)).for_each(add),
        }
    }

    /// The bytes of values where they travel: little-endian, one after the other.
    pub fn bytes_of(self, values: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Self::F32 => Cow::Borrowed(bytemuck::cast_slice(values)),
            Self::Bf16 => Cow::Owned(written(values)),
        }
    }

    /// The bytes of a flat buffer where it travels. They are shared, where they are those that it has in memory.
    pub fn into_bytes(self, values: Arc<FlatBuffer>) -> Bytes {
        match self {
            Self::F32 => shared_bytes(&values),
            Self::Bf16 => written(&values).into(),
        }
    }

    /// The bytes of some elements of a flat buffer where they travel. They are shared, as those of the whole are.
    ///
    /// # Panics
    /// If there are no such elements.
    pub fn bytes_within(self, values: &Arc<FlatBuffer>, elements: Range<usize>) -> Bytes {
        match self {
            Self::F32 => {
                let size = size_of::<f32>();
                shared_bytes(values).slice(elements.start * size..elements.end * size)
            }
            Self::Bf16 => written(&values[elements]).into(),
        }
    }

    /// The values whose bytes these are; nothing is copied if they lie so in memory. Bytes of a last element that is not
    /// whole are left out.
    pub fn values_of(self, bytes: &[u8]) -> Cow<'_, [f32]> {
        match self {
            Self::F32 => values_of(bytes),
            Self::Bf16 => Cow::Owned(bytes.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()),
        }
    }

    /// Takes bytes that have arrived, of which the first is that at `start`. They may begin and end within an element.
    ///
    /// # Panics
    /// If they go beyond the end of `values`.
    pub fn place(self, values: &mut [f32], start: usize, bytes: &[u8]) {
        if self == Self::F32 {
            let values: &mut [u8] = bytemuck::cast_slice_mut(values);
            return values[start..start + bytes.len()].copy_from_slice(bytes);
        }
        let size = size_of::<bf16>();
        let (rest, bytes) = bytes.split_at(if start.is_multiple_of(size) { 0 } else { bytes.len().min(1) });
        if let [high] = *rest {
            // The other half of an element whose first byte has arrived before.
            let value = &mut values[start / size];
            *value = read([(value.to_bits() >> 16) as u8, high]);
        }
        let start = start.div_ceil(size);
        let (whole, rest) = bytes.as_chunks();
        let end = start + whole.len();
        for (value, bytes) in values[start..end].iter_mut().zip(whole) {
            *value = read(*bytes);
        }
        if let [low] = *rest {
            values[end] = f32::from_bits(u32::from(low) << 16);
        }
    }
}

/// The value of the format bf16 that is nearest.
fn rounded(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

/// The value with these bytes.
fn read(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The bytes of values as bf16.
fn written(values: &[f32]) -> Vec<u8> {
    const SIZE: usize = size_of::<bf16>();
    let mut bytes = vec![0; values.len() * SIZE];
    let write = |(bytes, values): (&mut [u8], &[f32])| {
        for (bytes, value) in bytes.as_chunks_mut::<SIZE>().0.iter_mut().zip(values) {
            *bytes = bf16::from_f32(*value).to_le_bytes();
        }
    };
    match values.len() {
        ..=GRAIN => write((&mut bytes, values)),
        _ => bytes.par_chunks_mut(GRAIN * SIZE).zip(values.par_chunks(GRAIN)).for_each(write),
    }
    bytes
}

#[cfg(test)]
mod tests;
