//! A tensor's values as f32.

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use super::ImportError;

/// A tensor in memory.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) shape: Vec<usize>,
    /// Row-major.
    pub(super) elements: Vec<f32>,
}

impl Values {
    /// The values of a tensor of the file.
    ///
    /// # Errors
    /// If they are no floating-point numbers, or one is not finite as f32.
    pub(super) fn of(name: &str, tensor: &TensorView<'_>) -> Result<Self, ImportError> {
        let bytes = tensor.data();
        let elements: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => each(bytes, f32::from_le_bytes),
            Dtype::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            // To nearest, ties to even, as the conversion is defined.
            Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            found => return Err(ImportError::Dtype { name: name.to_owned(), found }),
        };
        match elements.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(ImportError::NotFinite { name: name.to_owned(), index }),
            None => Ok(Self { shape: tensor.shape().to_vec(), elements }),
        }
    }

    /// These values and then others, along the first dimension.
    ///
    /// # Errors
    /// If the other dimensions differ.
    pub(super) fn followed_by(mut self, other: Self, name: &str) -> Result<Self, ImportError> {
        match (self.shape.split_first_mut(), other.shape.split_first()) {
            (Some((rows, row)), Some((more, other_row))) if row == other_row => {
                *rows += more;
                self.elements.extend(other.elements);
                Ok(self)
            }
            _ => Err(ImportError::Shape {
                name: name.to_owned(),
                expected: self.shape,
                found: other.shape,
                hint: String::new(),
            }),
        }
    }
}

/// Converts little-endian values of N bytes each.
fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|bytes| convert(*bytes)).collect()
}
