//! Collects the images of a data set in memory: decodes them in parallel and keeps their order.

mod decoding;
mod new_samples;
mod tally;

use rayon::prelude::*;

use super::decode::{self, ImageProblem};
use super::form::Form;
use super::header::{Depth, Facts, Header, Image, Pixels};
use super::parameters::{FormParameters, OnDamaged};
use super::stored::{Stored, place};
use crate::loading::Loading;
use crate::report::{Findings, Notes, Reason};
use crate::samples::Blocks;
use crate::{DataError, Dataset, MAX_CLASSES, Split};
use decoding::{NotDecoded, decode_all};
use tally::Tally;

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
    /// The problem of the only image that was looked at.
    fn image(problem: ImageProblem) -> Self {
        Self::Image(0, problem)
    }

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
    /// Whether images no longer change the form: new samples come in that of the training split.
    fixed: bool,
    /// What the owner of the data should know.
    pub(crate) findings: Findings,
    /// Names of the classes, if they have some.
    pub(crate) class_names: Vec<String>,
    tally: Tally,
}

/// The images of both splits, in the form that has room for all of them.
struct Collected {
    form: Form,
    stored: Stored,
}

impl Collector {
    fn new(parameters: FormParameters, loading: Loading) -> Self {
        Self {
            parameters,
            loading,
            expected: 0,
            collected: None,
            fixed: false,
            findings: Findings::default(),
            class_names: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The loading that the images belong to.
    pub(crate) fn loading(&self) -> &Loading {
        &self.loading
    }

    /// Announces a number of images, so that a split that is too large is refused at its first image.
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
        let form = self.form(&facts_of(shape)?)?;
        self.check_room(images, form).map_err(Rejected::Other)
    }

    fn check_room(&self, images: u64, form: Form) -> Result<(), DataError> {
        self.loading.has_room_for(images.saturating_mul(form.shape.bytes().saturating_add(LABEL)))
    }

    /// The form of all images so far and one with these facts; those that are kept are brought to it.
    fn form(&mut self, facts: &Facts) -> Result<Form, Rejected> {
        if let Some(Collected { form, .. }) = self.collected.as_ref().filter(|_| self.fixed) {
            form.accept(facts).map_err(|problem| Rejected::Image(0, problem))?;
            return Ok(*form);
        }
        let own = Form::of(facts, &self.parameters);
        let form = match self.collected.take() {
            None => {
                self.check_room(self.expected.max(1), own).map_err(Rejected::Other)?;
                self.collected.insert(Collected { form: own, stored: Stored::new(own.shape) }).form
            }
            Some(Collected { form, stored }) => {
                let wide = form.with(own);
                let stored =
                    if wide == form { stored } else { self.widened(stored, form.shape, wide.shape)? };
                self.collected.insert(Collected { form: wide, stored }).form
            }
        };
        form.accept(facts).map_err(|problem| Rejected::Image(0, problem))?;
        Ok(form)
    }

    fn widened(&self, stored: Stored, from: Header, to: Header) -> Result<Stored, Rejected> {
        let images = (stored.len(Split::Train) + stored.len(Split::Test)) as u64;
        let more = (to.bytes() - from.bytes()).saturating_mul(images);
        self.loading.keep(more).map_err(Rejected::Other)?;
        Ok(stored.widened(from, to))
    }

    /// Decodes and keeps images; `name` describes one by its index, for the report. If several are wrong, the error names
    /// the first, whichever thread found it first.
    pub(crate) fn extend(
        &mut self,
        split: Split,
        images: &[Encoded<'_>],
        name: impl Fn(usize) -> String,
    ) -> Result<(), Rejected> {
        let limit = self.loading.limit();
        let facts: Vec<_> = images.par_iter().map(|image| decode::facts(image.bytes, limit)).collect();
        let (mut readable, mut wrong) = (Vec::with_capacity(images.len()), Vec::new());
        for (place, facts) in facts.into_iter().enumerate() {
            match facts.map_err(Rejected::image).and_then(|facts| Ok((facts, self.form(&facts)?))) {
                Ok((facts, form)) => {
                    self.tally.count(&facts, &form);
                    readable.push(place);
                }
                Err(Rejected::Image(_, problem)) => wrong.push((place, NotDecoded::Image(problem))),
                Err(other) => return Err(other),
            }
        }
        wrong.extend(self.decode(split, images, &readable)?);
        wrong.sort_by_key(|(place, _)| *place);
        wrong.into_iter().try_for_each(|(place, reason)| match reason {
            NotDecoded::Image(problem) => self.skip(split, problem, place, &name),
            NotDecoded::Other(error) => Err(Rejected::Other(error)),
        })
    }

    /// Leaves out an image, or refuses it.
    fn skip(
        &mut self,
        split: Split,
        problem: ImageProblem,
        place: usize,
        name: impl Fn(usize) -> String,
    ) -> Result<(), Rejected> {
        if self.parameters.on_damaged == OnDamaged::Refuse || !problem.is_damage() {
            return Err(Rejected::Image(place, problem));
        }
        self.findings.leave_out(split, Reason::Damaged, || name(place));
        Ok(())
    }

    /// Decodes the images at these places and keeps those that could be decoded; returns the others with their places.
    fn decode(
        &mut self,
        split: Split,
        images: &[Encoded<'_>],
        places: &[usize],
    ) -> Result<Vec<(usize, NotDecoded)>, Rejected> {
        let Some(form) = self.collected.as_ref().map(|collected| collected.form) else {
            return Ok(Vec::new());
        };
        self.keep(places.len(), form).map_err(Rejected::Other)?;
        let images: Vec<_> = places.iter().map(|&place| images[place]).collect();
        let loading = self.loading.clone();
        let wrong = match self.stored() {
            Stored::Eight(splits) => decode_all(&mut splits[place(split)], &images, form, &loading),
            Stored::Sixteen(splits) => decode_all(&mut splits[place(split)], &images, form, &loading),
        };
        Ok(wrong.into_iter().map(|(index, reason)| (places[index], reason)).collect())
    }

    /// Keeps images that are already decoded, [channels, height, width], one after the other.
    pub(crate) fn extend_raw(
        &mut self,
        split: Split,
        shape: [usize; 3],
        pixels: &[u8],
        labels: &[u32],
    ) -> Result<(), Rejected> {
        let facts = facts_of(shape)?;
        let form = self.form(&facts)?;
        let as_stored = facts.stored == form.shape;
        let work = if as_stored { 0 } else { form.work(&facts) };
        let _lent = self.loading.lend(work).map_err(Rejected::Other)?;
        self.keep(labels.len(), form).map_err(Rejected::Other)?;
        labels.iter().for_each(|_| self.tally.count(&facts, &form));
        let stored = self.stored();
        labels.iter().for_each(|&label| stored.targets(split).push([label]));
        for image in pixels.chunks_exact(facts.stored.size()) {
            let decoded =
                || Image { facts, pixels: Pixels::Eight(interleaved(image, facts.stored.channels)) };
            match stored {
                Stored::Eight(splits) if as_stored => splits[place(split)].inputs.push(image.iter().copied()),
                Stored::Eight(splits) => splits[place(split)].inputs.push(form.bring(decoded())),
                Stored::Sixteen(splits) => splits[place(split)].inputs.push(form.bring(decoded())),
            }
        }
        Ok(())
    }

    fn keep(&mut self, images: usize, form: Form) -> Result<(), DataError> {
        self.loading.check()?;
        self.loading.keep((images as u64).saturating_mul(form.shape.bytes() + LABEL))
    }

    #[expect(clippy::expect_used, reason = "the form is asked for first")]
    fn stored(&mut self) -> &mut Stored {
        &mut self.collected.as_mut().expect("a form, which every image has").stored
    }

    /// The classes of the images of a split, once there are any.
    pub(crate) fn targets(&mut self, split: Split) -> Option<&mut Blocks<u32>> {
        self.collected.as_mut().map(|collected| collected.stored.targets(split))
    }

    /// Number of classes that the labels of the training split need.
    fn classes(&self) -> usize {
        self.collected.as_ref().map_or(0, |collected| collected.stored.classes())
    }

    /// Refuses a split that the job asks for and that has no samples.
    fn check_samples(&self, split: Split, files: Option<String>) -> Result<(), DataError> {
        let empty = self.collected.as_ref().is_none_or(|collected| collected.stored.len(split) == 0);
        match files {
            Some(files) if empty => Err(DataError::Empty { split, files }),
            _ => Ok(()),
        }
    }

    fn finish(mut self, classes: usize) -> Result<Box<dyn Dataset>, DataError> {
        let Some(Collected { form, stored }) = self.collected else {
            let problem = "found no image, expected at least one".to_owned();
            return Err(DataError::Content { split: Split::Train, problem });
        };
        self.tally.report(&form, &mut self.findings);
        let notes = Notes { class_names: self.class_names, findings: self.findings.into_vec() };
        stored.into_dataset(form.shape, classes, &self.loading, notes)
    }
}

/// The facts of a decoded image, whose size no decoder has checked.
fn facts_of([channels, height, width]: [usize; 3]) -> Result<Facts, Rejected> {
    let header = Header { height, width, channels, depth: Depth::Eight };
    match usize::try_from(header.bytes()) {
        Ok(_) if header.bytes() < u64::MAX => Ok(Facts::plain(header)),
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
    let mut images = Collector::new(form, loading.clone());
    let files = read(Split::Train, classes.unwrap_or(MAX_CLASSES), &mut images)?;
    images.check_samples(Split::Train, files)?;
    let classes = classes.unwrap_or_else(|| images.classes());
    let files = match loading.new_samples() {
        Some(files) => Some(images.read_new(&files)?),
        None => read(Split::Test, classes, &mut images)?,
    };
    images.check_samples(Split::Test, files)?;
    images.finish(classes)
}

#[cfg(test)]
mod tests;
