//! Batches of the Python version.

use super::{BLOCK, Layout, PIXELS, SHAPE};
use crate::image::Collector;
use crate::pickle::{MAX_VALUES, Pickle, VALUE};
use crate::source::Source;
use crate::{DataError, FileProblem, Split};

/// Reads a pickled batch: rows of pixels under `data`, and their labels.
pub(super) fn read_batch(
    file: &Source,
    layout: &Layout,
    split: Split,
    images: &mut Collector,
) -> Result<(), DataError> {
    let loading = images.loading().clone();
    let content = file.content(&loading)?;
    let _lent = loading.lend(VALUE * MAX_VALUES as u64)?;
    let damaged = |reason| file.error(FileProblem::Damaged { format: "CIFAR batch", reason });
    let pickle = Pickle::read(content.as_ref()).map_err(damaged)?;
    let array = pickle.array("data").map_err(damaged)?;
    if array.row != PIXELS {
        let found = array.row;
        let expected = format!("{PIXELS}, of 3 × 32 × 32 pixels");
        return Err(file.error(FileProblem::Count { what: "bytes of a picture", found, expected }));
    }
    let labels = pickle.numbers(layout.labels_key).map_err(damaged)?;
    let rows = array.bytes.len() / PIXELS;
    if labels.len() != rows {
        let (what, found) = ("labels", labels.len());
        return Err(file.error(FileProblem::Count {
            what,
            found,
            expected: format!("{rows}, one for each picture"),
        }));
    }
    let class = |(row, label): (usize, &i64)| {
        let class = u32::try_from(*label).ok().filter(|class| (*class as usize) < layout.classes);
        class.ok_or_else(|| file.error(FileProblem::label(&format!("record {row}"), label, layout.classes)))
    };
    let classes = labels.iter().enumerate().map(class).collect::<Result<Vec<u32>, _>>()?;
    for (pixels, classes) in array.bytes.chunks(BLOCK * PIXELS).zip(classes.chunks(BLOCK)) {
        let taken = images.extend_raw(split, SHAPE, pixels, classes);
        taken.map_err(|rejected| {
            rejected.into_error(|_, problem| file.error(FileProblem::image("the images", problem)))
        })?;
    }
    Ok(())
}
