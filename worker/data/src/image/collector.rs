//! Collects the images of a data set in memory: decodes them in parallel and keeps their order.

use rayon::prelude::*;

use super::decode::{self, Header, Image, ImageProblem};
use super::form::{Form, FormParameters};
use crate::loading::Loading;
use crate::memory;
use crate::samples::Samples;
use crate::{DataError, Dataset, MAX_CLASSES, Split};

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
    loading: Loading,
    /// Images that are announced and whose size is not known yet.
    expected: u64,
    collected: Option<Collected>,
}

/// The images of both splits, in the form of the first.
struct Collected {
    form: Form,
    train: Samples<u8>,
    test: Samples<u8>,
}

impl Collector {
    fn new(parameters: FormParameters, loading: Loading) -> Self {
        Self { parameters, loading, expected: 0, collected: None }
    }

    /// The loading that the images belong to.
    pub(crate) fn loading(&self) -> &Loading {
        &self.loading
    }

    /// Announces a number of images, so that a split that is too large is refused at its first image.
    #[cfg(any(test, feature = "parquet"))]
    pub(crate) fn expect(&mut self, images: u64) -> Result<(), DataError> {
        self.expected = images;
        match &self.collected {
            Some(collected) => self.check_room(images, collected.form),
            None => Ok(()),
        }
    }

    /// Announces a number of decoded images [channels, height, width], which come in this form.
    pub(crate) fn expect_raw(&mut self, images: u64, shape: [usize; 3]) -> Result<(), Rejected> {
        self.expected = images;
        let form = self.form(&header_of(shape)?)?;
        self.check_room(images, form).map_err(Rejected::Other)
    }

    fn check_room(&self, images: u64, form: Form) -> Result<(), DataError> {
        self.loading.has_room_for(images.saturating_mul(form.shape.bytes().saturating_add(LABEL)))
    }

    /// The form of all images, which an image with this header determines if it is the first.
    fn form(&mut self, header: &Header) -> Result<Form, Rejected> {
        let form = match &self.collected {
            Some(collected) => collected.form,
            None => {
                let form = self.parameters.of_first(*header);
                self.check_room(self.expected.max(1), form).map_err(Rejected::Other)?;
                let new = || Samples::new(form.shape.size());
                self.collected.insert(Collected { form, train: new(), test: new() }).form
            }
        };
        form.accept(header).map_err(|problem| Rejected::Image(0, problem))?;
        Ok(form)
    }

    /// Decodes and keeps images. If several are wrong, the error names the first, whichever thread found it first.
    pub(crate) fn extend(&mut self, split: Split, images: &[Encoded<'_>]) -> Result<(), Rejected> {
        let Some(first) = images.first() else { return Ok(()) };
        let (loading, limit) = (self.loading.clone(), self.loading.limit());
        let form = match &self.collected {
            Some(collected) => collected.form,
            None => {
                let header = decode::header(first.bytes, limit);
                self.form(&header.map_err(|problem| Rejected::Image(0, problem))?)?
            }
        };
        self.keep(images.len(), form).map_err(Rejected::Other)?;
        let samples = self.samples(split);
        images.iter().for_each(|image| samples.targets.push([image.label]));
        let places = samples.inputs.add(images.len()).into_par_iter();
        let wrong = places.zip(images).enumerate().filter_map(|(place, (pixels, image))| {
            decode_to(pixels, image.bytes, form, &loading).err().map(|reason| (place, reason))
        });
        match wrong.min_by_key(|(place, _)| *place) {
            Some((place, NotDecoded::Image(problem))) => Err(Rejected::Image(place, problem)),
            Some((_, NotDecoded::Other(error))) => Err(Rejected::Other(error)),
            None => Ok(()),
        }
    }

    /// Keeps images that are already decoded, [channels, height, width], one after the other.
    pub(crate) fn extend_raw(
        &mut self,
        split: Split,
        shape: [usize; 3],
        pixels: &[u8],
        labels: &[u32],
    ) -> Result<(), Rejected> {
        let header = header_of(shape)?;
        let form = self.form(&header)?;
        let work = if header == form.shape { 0 } else { form.work(&header) };
        let _lent = self.loading.lend(work).map_err(Rejected::Other)?;
        self.keep(labels.len(), form).map_err(Rejected::Other)?;
        let samples = self.samples(split);
        labels.iter().for_each(|&label| samples.targets.push([label]));
        for image in pixels.chunks_exact(header.size()) {
            if header == form.shape {
                samples.inputs.push(image.iter().copied());
            } else {
                let pixels = interleaved(image, header.channels);
                samples.inputs.push(form.bring(Image { header, pixels }));
            }
        }
        Ok(())
    }

    fn keep(&mut self, images: usize, form: Form) -> Result<(), DataError> {
        self.loading.check()?;
        self.loading.keep((images as u64).saturating_mul(form.shape.bytes() + LABEL))
    }

    #[expect(clippy::expect_used, reason = "the form is asked for first")]
    fn samples(&mut self, split: Split) -> &mut Samples<u8> {
        let collected = self.collected.as_mut().expect("a form, which every image has");
        match split {
            Split::Train => &mut collected.train,
            Split::Test => &mut collected.test,
        }
    }

    /// Number of classes that the labels of the training split need.
    fn classes(&self) -> usize {
        self.collected.as_ref().map_or(0, |collected| collected.train.classes())
    }

    /// Refuses a split that the job asks for and that has no samples.
    fn check_samples(&mut self, split: Split, files: Option<String>) -> Result<(), DataError> {
        let empty = self.collected.is_none() || self.samples(split).targets.len() == 0;
        match files {
            Some(files) if empty => Err(DataError::Empty { split, files }),
            _ => Ok(()),
        }
    }

    fn finish(self, classes: usize) -> Result<Box<dyn Dataset>, DataError> {
        let Some(Collected { form, train, test }) = self.collected else {
            let problem = "found no image, expected at least one".to_owned();
            return Err(DataError::Content { split: Split::Train, problem });
        };
        let Header { height, width, channels } = form.shape;
        let shape = vec![channels, height, width];
        Ok(Box::new(memory::collected(shape, classes, [train, test], &self.loading)?))
    }
}

/// Why an image was not decoded.
enum NotDecoded {
    Image(ImageProblem),
    Other(DataError),
}

impl From<ImageProblem> for NotDecoded {
    fn from(problem: ImageProblem) -> Self {
        Self::Image(problem)
    }
}

/// Decodes an image to where its pixels stay.
fn decode_to(pixels: &mut [u8], bytes: &[u8], form: Form, loading: &Loading) -> Result<(), NotDecoded> {
    loading.check().map_err(|cancelled| NotDecoded::Other(cancelled.into()))?;
    let (image, _lent) = decode::decode(bytes, loading.limit(), |header| {
        form.accept(header)?;
        loading.lend_in_turn(form.work(header)).map_err(NotDecoded::Other)
    })?;
    pixels.copy_from_slice(&form.bring(image));
    Ok(())
}

/// The header of a decoded image, whose size no decoder has checked.
fn header_of([channels, height, width]: [usize; 3]) -> Result<Header, Rejected> {
    let header = Header { height, width, channels };
    match usize::try_from(header.bytes()) {
        Ok(_) if header.bytes() < u64::MAX => Ok(header),
        _ => Err(Rejected::Image(0, ImageProblem::TooLarge { width, height, limit: u64::MAX })),
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
    loading: &Loading,
    form: FormParameters,
    classes: Option<usize>,
    mut read: impl FnMut(Split, usize, &mut Collector) -> Result<Option<String>, DataError>,
) -> Result<Box<dyn Dataset>, DataError> {
    form.check()?;
    let mut images = Collector::new(form, loading.clone());
    let files = read(Split::Train, classes.unwrap_or(MAX_CLASSES), &mut images)?;
    images.check_samples(Split::Train, files)?;
    let classes = classes.unwrap_or_else(|| images.classes());
    let files = read(Split::Test, classes, &mut images)?;
    images.check_samples(Split::Test, files)?;
    images.finish(classes)
}

#[cfg(test)]
mod tests;
