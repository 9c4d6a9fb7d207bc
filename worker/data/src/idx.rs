//! IDX files, the format of MNIST and its relatives (Y. LeCun, C. Cortes, C. Burges): a file of images and one of
//! labels for each split.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::files::{Files, in_folder};
use super::image::{Collector, FormParameters, load};
use super::source::Source;
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Split, check_classes};
use std::io::BufRead;

/// Bytes of pixels that are read at once.
const BLOCK: usize = 1 << 18;
/// Magic numbers: unsigned bytes in three dimensions for images, in one for labels.
const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdxParameters {
    /// Folder that contains the files under MNIST's names.
    folder: Option<String>,
    train: Option<Pair>,
    test: Option<Pair>,
    classes: Option<u64>,
    resize: Option<[usize; 2]>,
    channels: Option<usize>,
}

/// The two files of a split.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    images: String,
    labels: String,
}

/// Loads a data set of the MNIST family: inputs [1, height, width] from 0 to 1. If the job names no files, they are
/// those of MNIST in `folder`, compressed or not.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a file is missing, damaged, too large, or holds labels that are not
/// classes (this worker's).
pub fn idx(parameters: &Parameters, environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    let parameters: IdxParameters = parse_parameters("data", parameters)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let form = FormParameters { resize: parameters.resize, channels: parameters.channels };
    let files = Files::new(parameters.folder, parameters.train, parameters.test)?;
    let (train, test) = find(&files, environment)?;
    load(environment, form, classes, |split, classes, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        let Some(files @ [pixels, labels]) = files else { return Ok(None) };
        let labels = read_labels(labels, classes, images.limit())?;
        read_images(pixels, &labels, split, images)?;
        Ok(Some(Source::names(files)))
    })
}

/// The input spec, without reading files; `None` unless the job gives size and classes.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters: IdxParameters = parse_parameters("data", parameters)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    Files::new(parameters.folder, parameters.train, parameters.test)?;
    let form = FormParameters { resize: parameters.resize, channels: parameters.channels };
    form.input_spec(None, Some(1), classes)
}

/// Images and labels of the training split, and those of the test split if there is one.
fn find(
    files: &Files<Pair>,
    environment: &DataEnvironment,
) -> Result<([Source; 2], Option<[Source; 2]>), DataError> {
    let named = |Pair { images, labels }: &Pair, key: &str| -> Result<[Source; 2], DataError> {
        Ok([
            Source::find(environment, images, &format!("{key}.images"))?,
            Source::find(environment, labels, &format!("{key}.labels"))?,
        ])
    };
    match files {
        Files::In { folder } => {
            let usual = |prefix| usual_files(environment, folder, prefix);
            Ok((usual("train")?, Some(usual("t10k")?)))
        }
        Files::Named { train, test } => {
            let test = test.as_ref().map(|test| named(test, "data.test")).transpose()?;
            Ok((named(train, "data.train")?, test))
        }
    }
}

/// The files with MNIST's original names.
fn usual_files(environment: &DataEnvironment, folder: &str, prefix: &str) -> Result<[Source; 2], DataError> {
    let find = |name: String| -> Result<Source, DataError> {
        let path = in_folder(folder, &name);
        let compressed = || Source::find(environment, &format!("{path}.gz"), "data.folder");
        Source::find(environment, &path, "data.folder").or_else(|error| compressed().map_err(|_| error))
    };
    Ok([find(format!("{prefix}-images-idx3-ubyte"))?, find(format!("{prefix}-labels-idx1-ubyte"))?])
}

/// Reads a header: the magic number and `N` extents.
fn read_header<const N: usize>(
    file: &Source,
    reader: &mut dyn BufRead,
    magic: [u8; 4],
) -> Result<[usize; N], DataError> {
    let mut header = vec![0; 4 + 4 * N];
    let found = file.fill(reader, &mut header)?;
    let begins = header[..found.min(4)].to_vec();
    if begins != magic {
        return Err(file.error(FileProblem::Magic { format: "IDX", found: begins, expected: magic }));
    }
    if found < header.len() {
        let expected = header.len() as u64;
        return Err(file.error(FileProblem::Cut { what: "header".into(), found: found as u64, expected }));
    }
    let mut extents = [0; N];
    for (extent, bytes) in extents.iter_mut().zip(header[4..].as_chunks::<4>().0) {
        *extent = u32::from_be_bytes(*bytes) as usize;
    }
    Ok(extents)
}

fn read_labels(file: &Source, classes: usize, limit: u64) -> Result<Vec<u32>, DataError> {
    let mut reader = file.reader()?;
    let [samples] = read_header::<1>(file, reader.as_mut(), LABELS)?;
    if samples as u64 > limit {
        return Err(DataError::Memory { needed: samples as u64, limit });
    }
    let mut labels = Vec::new();
    read_blocks(file, reader.as_mut(), samples, 1, |bytes| {
        for &label in bytes {
            if usize::from(label) >= classes {
                let row = format!("label {}", labels.len());
                return Err(file.error(FileProblem::label(&row, label, classes)));
            }
            labels.push(u32::from(label));
        }
        Ok(())
    })?;
    Ok(labels)
}

fn read_images(file: &Source, labels: &[u32], split: Split, images: &mut Collector) -> Result<(), DataError> {
    let mut reader = file.reader()?;
    let [samples, height, width] = read_header::<3>(file, reader.as_mut(), IMAGES)?;
    if samples != labels.len() {
        let expected = format!("{} as in the file of labels", labels.len());
        return Err(file.error(FileProblem::Count { what: "images", found: samples, expected }));
    }
    if samples > 0 && (height == 0 || width == 0) {
        let expected = "at least one".to_owned();
        return Err(file.error(FileProblem::Count { what: "pixels of an image", found: 0, expected }));
    }
    let size = height as u64 * width as u64; // Both have 32 bits.
    let needed = size.saturating_mul(samples as u64);
    if needed > images.limit() {
        return Err(DataError::Memory { needed, limit: images.limit() });
    }
    let mut labels = labels;
    read_blocks(file, reader.as_mut(), samples, size as usize, |pixels| {
        let (now, later) = labels.split_at(pixels.len() / size as usize);
        labels = later;
        let taken = images.extend_raw(split, [1, height, width], pixels, now);
        taken.map_err(|rejected| {
            rejected.into_error(|_, problem| file.error(FileProblem::image("the images", problem)))
        })
    })
}

/// Reads `items` items of `size` bytes each, in blocks, and makes sure that nothing follows. The size may be 0 only if
/// there are no items.
fn read_blocks(
    file: &Source,
    reader: &mut dyn BufRead,
    items: usize,
    size: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut block = vec![0; if items > 0 { (BLOCK / size).clamp(1, items) * size } else { 0 }];
    let mut left = items;
    while left > 0 {
        let wanted = (left * size).min(block.len());
        let found = file.fill(reader, &mut block[..wanted])?;
        if found < wanted {
            let what = format!("item {} of {items}", items - left + found / size);
            return Err(file.error(FileProblem::Cut {
                what,
                found: (found % size) as u64,
                expected: size as u64,
            }));
        }
        take(&block[..wanted])?;
        left -= wanted / size;
    }
    match file.fill(reader, &mut [0])? {
        0 => Ok(()),
        _ => Err(file.error(FileProblem::Trailing { after: format!("{items} items") })),
    }
}

#[cfg(test)]
mod tests;
