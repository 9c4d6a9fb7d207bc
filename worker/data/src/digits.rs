//! The embedded data set: 1797 handwritten digits of 8×8 pixels (E. Alpaydin and C. Kaynak, Optical Recognition of
//! Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0; see `assets/README.md`).

use ::safetensors::{Dtype, SafeTensors};
use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::{DataEnvironment, DataError, Dataset, FileProblem, InMemory, InputSpec, Rows, keys};

/// The file that is embedded in the program.
static FILE: &[u8] = include_bytes!("../assets/digits.safetensors");
/// The file's name in errors.
const NAME: &str = "digits.safetensors";
/// Greatest value of a pixel; inputs are pixels divided by it, and so lie from 0 to 1.
const WHITE: f32 = 16.0;
/// Height and width of an image.
const SHAPE: [usize; 2] = [8, 8];
const CLASSES: usize = 10;
/// Every fifth image belongs to the test split.
const TEST_EVERY: usize = 5;

/// `[data]` takes no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DigitsParameters {}

/// Loads the digits: inputs [8, 8] from 0 to 1, 10 classes, 1438 samples for training and 359 for testing.
///
/// # Errors
/// When there are parameters: it takes none.
pub fn digits(
    parameters: &Parameters,
    _environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let DigitsParameters {} = keys::parse(parameters, &[])?;
    let file = SafeTensors::deserialize(FILE).map_err(|error| damaged(FileProblem::Header(error)))?;
    let images = bytes(&file, "images")?;
    let labels = bytes(&file, "labels")?;
    let (mut train, mut test) = (Rows::default(), Rows::default());
    for (index, (image, &label)) in images.chunks_exact(SHAPE.iter().product()).zip(labels).enumerate() {
        let rows = if index % TEST_EVERY == TEST_EVERY - 1 { &mut test } else { &mut train };
        rows.inputs.extend(image.iter().map(|&pixel| f32::from(pixel) / WHITE));
        rows.targets.push(u32::from(label));
    }
    Ok(Box::new(InMemory::new(SHAPE.to_vec(), CLASSES, train, test)?))
}

/// The input spec of the digits, which needs no loading.
///
/// # Errors
/// As [`digits`].
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let DigitsParameters {} = keys::parse(parameters, &[])?;
    Ok(Some(InputSpec { input_shape: SHAPE.to_vec(), classes: CLASSES }))
}

fn bytes<'a>(file: &SafeTensors<'a>, tensor: &'static str) -> Result<&'a [u8], DataError> {
    let view = file.tensor(tensor).map_err(|_| damaged(FileProblem::NoTensor { tensor }))?;
    match view.dtype() {
        Dtype::U8 => Ok(view.data()),
        found => Err(damaged(FileProblem::Type { tensor, found, expected: "U8" })),
    }
}

fn damaged(problem: FileProblem) -> DataError {
    DataError::File { file: NAME.to_owned(), problem }
}

#[cfg(test)]
mod tests;
