//! Collects the images of a data set in memory, or gathers them for an index: decodes them in parallel and keeps their order.

mod decoding;
mod gathering;
mod new_samples;
mod raw;
mod splits;
mod tally;

use lookbehind_common::digest::Digest;
use rayon::prelude::*;

use super::decode::{self, ImageProblem};
use super::form::Form;
use super::header::{Facts, Header};
use super::indexed::Gathered;
use super::parameters::{FormParameters, OnDamaged};
use super::stored::{Stored, place};
use crate::loading::Loading;
use crate::report::{Findings, Notes, Reason};
use crate::samples::Blocks;
use crate::{DataError, Dataset, Split};
use decoding::{NotDecoded, decode_all};
use gathering::NewImage;
pub(crate) use splits::{load, load_kept};
use tally::Tally;

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
    /// Whether the images come from files that the stamp of the data set does not cover.
    pub(crate) from_other_files: bool,
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
            from_other_files: false,
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

    fn check_room(&self, images: u64, form: Form) -> Result<(), DataError> {
        let bytes = Stored::bytes(&self.parameters, &form.shape);
        self.loading.has_room_for(images.saturating_mul(bytes))
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
                let stored = self.nothing_stored(own.shape).map_err(Rejected::Other)?;
                self.collected.insert(Collected { form: own, stored }).form
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

    fn nothing_stored(&self, shape: Header) -> Result<Stored, DataError> {
        match self.parameters.is_indexed() {
            true => Ok(Stored::Gathered(Gathered::new(&self.loading)?)),
            false => Ok(Stored::new(shape)),
        }
    }

    fn widened(&self, stored: Stored, from: Header, to: Header) -> Result<Stored, Rejected> {
        let images = (stored.len(Split::Train) + stored.len(Split::Test)) as u64;
        let bytes = |shape: &Header| Stored::bytes(&self.parameters, shape);
        let more = (bytes(&to) - bytes(&from)).saturating_mul(images);
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
                    readable.push((place, facts));
                }
                Err(Rejected::Image(_, problem)) => wrong.push((place, NotDecoded::Image(problem))),
                Err(other) => return Err(other),
            }
        }
        wrong.extend(self.take(split, images, &readable, &name).map_err(Rejected::Other)?);
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

    /// Takes the images with these places and facts, but for those that cannot be decoded, which are returned with their
    /// places. For an index, they are decoded only if damaged ones are to be left out.
    fn take(
        &mut self,
        split: Split,
        images: &[Encoded<'_>],
        readable: &[(usize, Facts)],
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<(usize, NotDecoded)>, DataError> {
        let Some(form) = self.collected.as_ref().map(|collected| collected.form) else {
            return Ok(Vec::new());
        };
        self.keep(readable.len(), form)?;
        let chosen: Vec<_> = readable.iter().map(|&(place, _)| images[place]).collect();
        let (loading, parameters) = (self.loading.clone(), self.parameters);
        let wrong = match self.stored() {
            Stored::Eight(splits) => decode_all(&mut splits[place(split)], &chosen, form, &loading),
            Stored::Sixteen(splits) => decode_all(&mut splits[place(split)], &chosen, form, &loading),
            Stored::Gathered(Gathered { writer, splits }) => {
                let new = readable.iter().zip(&chosen).map(|((place, facts), image)| NewImage {
                    bytes: image.bytes,
                    label: image.label,
                    name: name(*place),
                    work: form.most_work(facts),
                });
                let check = (parameters.on_damaged == OnDamaged::Skip).then_some(form);
                gathering::gather(writer, &mut splits[place(split)], new.collect(), check, &loading)?
            }
        };
        Ok(wrong.into_iter().map(|(index, reason)| (readable[index].0, reason)).collect())
    }

    fn keep(&mut self, images: usize, form: Form) -> Result<(), DataError> {
        self.loading.check()?;
        self.loading.keep((images as u64).saturating_mul(Stored::bytes(&self.parameters, &form.shape)))
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

    /// The data set; one that is indexed is kept under a name, if there is one.
    fn finish(mut self, classes: usize, name: Option<&Digest>) -> Result<Box<dyn Dataset>, DataError> {
        let Some(Collected { form, stored }) = self.collected else {
            let problem = "found no image, expected at least one".to_owned();
            return Err(DataError::Content { split: Split::Train, problem });
        };
        self.tally.report(&form, &mut self.findings);
        let notes = Notes { class_names: self.class_names, findings: self.findings.into_vec() };
        let name = name.filter(|_| !self.from_other_files);
        stored.into_dataset(&self.parameters, (form, classes), notes, name, &self.loading)
    }
}

#[cfg(test)]
mod tests;
