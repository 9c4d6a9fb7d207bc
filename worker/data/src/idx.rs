//! IDX files, the format of MNIST and its relatives (Y. LeCun, C. Cortes, C. Burges): a file of images and one of
//! labels for each split.

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::files::{Files, in_folder};
use super::image::{Collector, FormParameters, load};
use super::keys;
use super::loading::Loading;
use super::places::Places;
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
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: IdxParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let files = Files::new(parameters.folder, parameters.train, parameters.test)?;
    let loading = Loading::new(environment);
    let places = Places::new(environment, &loading, |_| true);
    let (train, test) = find(&files, &places)?;
    load(&loading, form, classes, |split, classes, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        let Some(files @ [pixels, labels]) = files else { return Ok(None) };
        read_pair(pixels, labels, classes, split, images)?;
        Ok(Some(Source::names(files)))
    })
}

/// The input spec, without reading files; `None` unless the job gives size and classes.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: IdxParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    Files::new(parameters.folder, parameters.train, parameters.test)?;
    Ok(form.input_spec(None, Some(1), classes))
}

/// Images and labels of the training split, and those of the test split if there is one.
fn find(files: &Files<Pair>, places: &Places<'_>) -> Result<([Source; 2], Option<[Source; 2]>), DataError> {
    let named = |Pair { images, labels }: &Pair, key: &str| -> Result<[Source; 2], DataError> {
        Ok([places.file(images, &format!("{key}.images"))?, places.file(labels, &format!("{key}.labels"))?])
    };
    match files {
        Files::In { folder } => {
            let usual = |prefix| usual_files(places, folder, prefix);
            Ok((usual("train")?, Some(usual("t10k")?)))
        }
        Files::Named { train, test } => {
            let test = test.as_ref().map(|test| named(test, "data.test")).transpose()?;
            Ok((named(train, "data.train")?, test))
        }
    }
}

/// The files with MNIST's original names: with a dash or a point before the dimensions, compressed or not.
fn usual_files(places: &Places<'_>, folder: &str, prefix: &str) -> Result<[Source; 2], DataError> {
    let find = |content: &str, dimensions: usize| -> Result<Source, DataError> {
        let name = |between: char, ending: &str| {
            in_folder(folder, &format!("{prefix}-{content}{between}idx{dimensions}-ubyte{ending}"))
        };
        let find = |name: String| places.file(&name, "data.folder");
        let others = || {
            [name('-', ".gz"), name('.', ""), name('.', ".gz")].into_iter().find_map(|name| find(name).ok())
        };
        find(name('-', "")).or_else(|error| others().ok_or(error))
    };
    Ok([find("images", 3)?, find("labels", 1)?])
}

/// Reads a header: the magic number and `N` extents.
fn read_header<const N: usize>(
    file: &Source,
    reader: &mut dyn BufRead,
    magic: [u8; 4],
) -> Result<[usize; N], DataError> {
    let mut header = vec![0; 4 + 4 * N];
    let found = file.fill(reader, &mut header)?;
    if header[..found.min(4)] != magic {
        let begins = header[..found].to_vec();
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

/// Reads both files of a split side by side, so that neither has to wait in memory for the other.
fn read_pair(
    pixels: &Source,
    labels: &Source,
    classes: usize,
    split: Split,
    images: &mut Collector,
) -> Result<(), DataError> {
    let mut of_labels = labels.reader(images.loading())?;
    let [samples] = read_header::<1>(labels, of_labels.as_mut(), LABELS)?;
    images.loading().has_room_for(samples as u64 * size_of::<u32>() as u64)?;
    let mut of_pixels = pixels.reader(images.loading())?;
    let [found, height, width] = read_header::<3>(pixels, of_pixels.as_mut(), IMAGES)?;
    if found != samples {
        let expected = format!("{samples} as in the file of labels");
        return Err(pixels.error(FileProblem::Count { what: "images", found, expected }));
    }
    let shape = [1, height, width];
    let refused = |_, problem| pixels.error(FileProblem::image("the images", problem));
    let mut pixels = Items { file: pixels, reader: of_pixels, items: samples, done: 0 };
    let mut labels = Items { file: labels, reader: of_labels, items: samples, done: 0 };
    if samples > 0 {
        if height == 0 || width == 0 {
            let (what, expected) = ("pixels of an image", "at least one".to_owned());
            return Err(pixels.file.error(FileProblem::Count { what, found: 0, expected }));
        }
        images.expect_raw(samples as u64, shape).map_err(|rejected| rejected.into_error(refused))?;
        let size = height * width; // There is room for an image, so it does not overflow.
        let at_once = (BLOCK / size).clamp(1, samples);
        let _lent = images.loading().lend((at_once * size) as u64)?;
        let mut block = vec![0; at_once * size];
        for first in (0..samples).step_by(at_once) {
            let count = at_once.min(samples - first);
            let classes = labels.classes(count, classes)?;
            let pixels = pixels.next(&mut block[..count * size], size)?;
            let taken = images.extend_raw(split, shape, pixels, &classes);
            taken.map_err(|rejected| rejected.into_error(refused))?;
        }
    }
    labels.end()?;
    pixels.end()
}

/// The items of a file after its header.
struct Items<'a> {
    file: &'a Source,
    reader: Box<dyn BufRead + Send>,
    items: usize,
    done: usize,
}

impl Items<'_> {
    /// Fills the block with further items of `size` bytes each, and returns it.
    fn next<'b>(&mut self, block: &'b mut [u8], size: usize) -> Result<&'b [u8], DataError> {
        let found = self.file.fill(self.reader.as_mut(), block)?;
        if found < block.len() {
            let what = format!("item {} of {}", self.done + found / size, self.items);
            let (found, expected) = ((found % size) as u64, size as u64);
            return Err(self.file.error(FileProblem::Cut { what, found, expected }));
        }
        self.done += block.len() / size;
        Ok(block)
    }

    /// The next labels, which must be below `classes`.
    fn classes(&mut self, count: usize, classes: usize) -> Result<Vec<u32>, DataError> {
        let first = self.done;
        let mut block = vec![0; count];
        let labels = self.next(&mut block, 1)?.iter().enumerate();
        let labels = labels.map(|(place, &label)| match usize::from(label) < classes {
            true => Ok(u32::from(label)),
            false => Err(FileProblem::label(&format!("label {}", first + place), label, classes)),
        });
        labels.collect::<Result<_, _>>().map_err(|problem| self.file.error(problem))
    }

    /// Makes sure that nothing follows.
    fn end(&mut self) -> Result<(), DataError> {
        match self.file.fill(self.reader.as_mut(), &mut [0])? {
            0 => Ok(()),
            _ => Err(self.file.error(FileProblem::Trailing { after: format!("{} items", self.items) })),
        }
    }
}

#[cfg(test)]
mod tests;
