//! The image of a row: a file that it names, the bytes of one, or pixels.

use super::rows::Value;

/// The image of a row.
#[derive(Clone, Debug)]
pub(super) enum Picture {
    /// The name of a file.
    Named(String),
    /// The bytes of a file.
    File(Vec<u8>),
    /// Pixels with the lengths of the lists that they stand in.
    #[cfg(feature = "parquet")]
    Pixels(Vec<usize>, Vec<u8>),
}

impl Picture {
    /// Takes the value of a row.
    ///
    /// # Errors
    /// What was expected in its place.
    pub(super) fn take(&mut self, value: Value<'_>) -> Result<(), &'static str> {
        *self = match value {
            Value::Text(name) if !name.is_empty() => {
                let name = std::str::from_utf8(name).map_err(|_| "the name of a file in UTF-8")?;
                Self::Named(name.trim().to_owned())
            }
            Value::Text(_) => return Err("the name of a file"),
            Value::Bytes(bytes) => Self::File(bytes.to_vec()),
            #[cfg(feature = "parquet")]
            Value::Pixels(pixels) => Self::Pixels(pixels.lengths.clone(), pixels.values.clone()),
            _ => return Err("an image"),
        };
        Ok(())
    }
}

/// The shape [channels, height, width] of pixels in lists of these lengths, and whether the channels stand innermost;
/// `None` if it is not clear. `given` is the shape that the job says.
#[cfg(feature = "parquet")]
pub(super) fn shape(lengths: &[usize], given: Option<&[usize]>) -> Option<([usize; 3], bool)> {
    let given = match given {
        None => None,
        Some(&[height, width]) => Some([1, height, width]),
        Some(&[channels, height, width]) => Some([channels, height, width]),
        Some(_) => return None,
    };
    let is_colours = |extent: usize| extent == 1 || extent == 3;
    match (lengths, given) {
        (&[all], Some(shape)) => (shape.iter().product::<usize>() == all).then_some((shape, false)),
        (&[height, width], None) => Some(([1, height, width], false)),
        (&[height, width], Some(shape)) => (shape == [1, height, width]).then_some((shape, false)),
        (&[a, b, c], Some(shape)) if shape == [a, b, c] => Some((shape, false)),
        (&[a, b, c], Some(shape)) => (shape == [c, a, b]).then_some((shape, true)),
        (&[a, b, c], None) if is_colours(a) != is_colours(c) => {
            Some(if is_colours(c) { ([c, a, b], true) } else { ([a, b, c], false) })
        }
        _ => None,
    }
}

/// Pixels [height, width, channels] as [channels, height, width].
#[cfg(feature = "parquet")]
pub(super) fn planes(values: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels).copied()).collect()
}

#[cfg(all(test, feature = "parquet"))]
mod tests;
