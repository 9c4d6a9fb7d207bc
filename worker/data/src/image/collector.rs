//! Collects the images of a data set in memory: decodes them in parallel and keeps their order.

use rayon::prelude::*;

use super::decode::{self, Header, Image, ImageProblem};
use super::form::{Form, FormParameters};
use crate::budget::Budget;
use crate::{DataEnvironment, DataError, Dataset, InMemory, MAX_CLASSES, Rows, Split};

/// Bytes of a label in memory.
const LABEL: u64 = size_of::<u32>() as u64;

/// An image file's bytes, and the class of the image.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) label: u32,
}

/// Why images were refused.
pub(crate) enum Rejected {
    /// One of them is wrong: its index among those given, and the problem.
    Image(usize, ImageProblem),
    /// Another reason, such as the memory limit.
    Other(DataError),
}

impl Rejected {
    /// Turns it into an error; `in_image` describes an image by its index.
    pub(crate) fn into_error(self, in_image: impl FnOnce(usize, ImageProblem) -> DataError) -> DataError {
        match self {
            Self::Image(place, problem) => in_image(place, problem),
            Self::Other(error) => error,
        }
    }
}

/// The images collected so far.
pub(crate) struct Collector {
    parameters: FormParameters,
    form: Option<Form>,
    budget: Budget,
    /// Images that are announced and that no memory has been reserved for yet.
    expected: u64,
    train: Rows<u8>,
    test: Rows<u8>,
}

impl Collector {
    fn new(parameters: FormParameters, environment: &DataEnvironment) -> Self {
        let budget = Budget::new(environment.memory_limit);
        Self { parameters, form: None, budget, expected: 0, train: Rows::default(), test: Rows::default() }
    }

    /// Announces a number of images, so that memory is reserved once, and a split that is too large is refused at its
    /// first image.
    #[cfg(any(test, feature = "parquet"))]
    pub(crate) fn expect(&mut self, split: Split, images: u64) -> Result<(), DataError> {
        self.expected = images;
        match self.form {
            Some(form) => self.make_room(split, form),
            None => Ok(()),
        }
    }

    fn make_room(&mut self, split: Split, form: Form) -> Result<(), DataError> {
        let size = form.shape.size();
        self.budget.has_room_for(self.expected.saturating_mul(size as u64 + LABEL))?;
        let images = std::mem::take(&mut self.expected) as usize;
        let rows = self.rows(split);
        rows.inputs.reserve_exact(images * size);
        rows.targets.reserve_exact(images);
        Ok(())
    }

    /// Most bytes of encoded images that a reader may hold.
    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Decodes and keeps images. If several are wrong, the error names the first, whichever thread found it first.
    pub(crate) fn extend(&mut self, split: Split, images: &[Encoded<'_>]) -> Result<(), Rejected> {
        let Some(first) = images.first() else { return Ok(()) };
        let limit = self.budget.limit();
        let form = match self.form {
            Some(form) => form,
            None => {
                let header =
                    decode::header(first.bytes, limit).map_err(|problem| Rejected::Image(0, problem))?;
                let form = *self.form.insert(self.parameters.of_first(header));
                self.make_room(split, form).map_err(Rejected::Other)?;
                form
            }
        };
        self.take(images.len(), form).map_err(Rejected::Other)?;
        let (rows, size) = (self.rows(split), form.shape.size());
        rows.targets.extend(images.iter().map(|image| image.label));
        let start = rows.inputs.len();
        rows.inputs.resize(start + images.len() * size, 0);
        let places = rows.inputs.par_chunks_exact_mut(size).skip(start / size);
        let wrong = places.zip(images).enumerate().filter_map(|(place, (pixels, image))| {
            let decoded = decode::decode(image.bytes, limit, |header| form.accept(header));
            decoded
                .map(|image| pixels.copy_from_slice(&form.bring(image)))
                .err()
                .map(|problem| (place, problem))
        });
        match wrong.min_by_key(|(place, _)| *place) {
            Some((place, problem)) => Err(Rejected::Image(place, problem)),
            None => Ok(()),
        }
    }

    /// Keeps images that are already decoded, [channels, height, width], one after the other.
    pub(crate) fn extend_raw(
        &mut self,
        split: Split,
        [channels, height, width]: [usize; 3],
        pixels: &[u8],
        labels: &[u32],
    ) -> Result<(), Rejected> {
        let header = Header { height, width, channels };
        let form = *self.form.get_or_insert_with(|| self.parameters.of_first(header));
        form.accept(&header).map_err(|problem| Rejected::Image(0, problem))?;
        self.take(labels.len(), form).map_err(Rejected::Other)?;
        let rows = self.rows(split);
        rows.targets.extend_from_slice(labels);
        if header == form.shape {
            rows.inputs.extend_from_slice(pixels);
        } else {
            for image in pixels.chunks_exact(header.size()) {
                let pixels = interleaved(image, channels);
                rows.inputs.extend(form.bring(Image { header, pixels }));
            }
        }
        Ok(())
    }

    fn take(&mut self, images: usize, form: Form) -> Result<(), DataError> {
        self.budget.take((images as u64).saturating_mul(form.shape.size() as u64 + LABEL))
    }

    fn rows(&mut self, split: Split) -> &mut Rows<u8> {
        match split {
            Split::Train => &mut self.train,
            Split::Test => &mut self.test,
        }
    }

    /// Refuses a split that the job asks for and that has no samples.
    fn check_samples(&mut self, split: Split, files: Option<String>) -> Result<(), DataError> {
        match files {
            Some(files) if self.rows(split).targets.is_empty() => Err(DataError::Empty { split, files }),
            _ => Ok(()),
        }
    }

    fn finish(self, classes: usize) -> Result<Box<dyn Dataset>, DataError> {
        let Some(Form { shape: Header { height, width, channels }, .. }) = self.form else {
            let problem = "found no image, expected at least one".to_owned();
            return Err(DataError::Content { split: Split::Train, problem });
        };
        Ok(Box::new(InMemory::images(vec![channels, height, width], classes, self.train, self.test)?))
    }
}

fn interleaved(image: &[u8], channels: usize) -> Vec<u8> {
    let plane = image.len() / channels;
    (0..plane).flat_map(|pixel| image.iter().skip(pixel).step_by(plane).copied()).collect()
}

/// Loads a data set of images: `read` puts the images of a split, with labels below the given number, into the
/// collector. It returns a description of the files that they come from, or `None` if the job does not ask for that
/// split. If no number of classes is given, it is one more than the greatest label of the training split.
pub(crate) fn load(
    environment: &DataEnvironment,
    form: FormParameters,
    classes: Option<usize>,
    mut read: impl FnMut(Split, usize, &mut Collector) -> Result<Option<String>, DataError>,
) -> Result<Box<dyn Dataset>, DataError> {
    form.check()?;
    let mut images = Collector::new(form, environment);
    let files = read(Split::Train, classes.unwrap_or(MAX_CLASSES), &mut images)?;
    images.check_samples(Split::Train, files)?;
    let classes = classes.unwrap_or_else(|| images.train.classes());
    let files = read(Split::Test, classes, &mut images)?;
    images.check_samples(Split::Test, files)?;
    images.finish(classes)
}

#[cfg(test)]
mod tests;
