//! WebDataset: tar archives, plain or compressed, in which the members of a sample follow each other and have its key before
//! the first point of their names: `000017.jpg`, `000017.cls`, `000017.json`.

mod sample;

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::archive::{Content, visit};
use super::folder::is_image;
use super::image::{Collector, Encoded, FormParameters, load_kept};
use super::keys;
use super::loading::{Lent, Loading};
use super::source::{Paths, Source};
use super::stamp::Stamp;
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, Split, check_classes};
use sample::{LabelKey, Member, Sample};

/// Most images that are decoded at once, and about how many bytes of their files.
const IMAGES: usize = 1024;
const BYTES: u64 = 1 << 23;

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebdatasetParameters {
    train: Paths,
    test: Option<Paths>,
    /// Ending of the images' names, such as `jpg`; by default every ending of an image.
    image: Option<String>,
    /// Ending of the labels' names, or `json.KEY`.
    #[serde(default)]
    label: LabelKey,
    classes: Option<u64>,
}

/// Loads images from tar archives: inputs [channels, height, width] from 0 to 1, in the order of the archives and in them.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or an archive is missing or damaged, a sample has no image or no label, or an
/// image cannot be used (this worker's).
pub fn webdataset(
    parameters: &Parameters,
    environment: &DataEnvironment,
) -> Result<Box<dyn Dataset>, DataError> {
    let given = parameters;
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: WebdatasetParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    let find = |paths: &Paths, key| Source::find_all(environment, paths.as_slice(), key);
    let train = find(&parameters.train, "data.train")?;
    let test = parameters.test.as_ref().map(|test| find(test, "data.test")).transpose()?;
    let stamp = || {
        let mut stamp = Stamp::new("webdataset", given);
        train.iter().chain(test.iter().flatten()).try_for_each(|file| file.stamp(&mut stamp))?;
        Ok(stamp.finish())
    };
    load_kept(&Loading::new(environment), form, classes, stamp, |split, classes, images| {
        let files = if split == Split::Train { Some(&train) } else { test.as_ref() };
        for file in files.into_iter().flatten() {
            let (pending, sample) = (Pending::default(), None);
            Shard { file, parameters: &parameters, split, classes, images, pending, sample }.read()?;
        }
        Ok(files.map(|files| Source::names(files)))
    })
}

/// The input spec, without reading files; `None` unless the job gives size, channels and classes.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: WebdatasetParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let classes = parameters.classes.map(check_classes).transpose()?;
    Ok(form.input_spec(None, None, classes))
}

/// An archive while it is read.
struct Shard<'a> {
    file: &'a Source,
    parameters: &'a WebdatasetParameters,
    split: Split,
    /// Labels must be below this number.
    classes: usize,
    images: &'a mut Collector,
    pending: Pending,
    /// The sample whose members are being read.
    sample: Option<Sample>,
}

/// Images that wait to be decoded together.
#[derive(Default)]
struct Pending {
    images: Vec<(Vec<u8>, u32, String)>,
    bytes: u64,
    lent: Vec<Lent>,
}

impl Shard<'_> {
    fn read(mut self) -> Result<(), DataError> {
        let loading = self.images.loading().clone();
        let reader = self.file.reader(&loading)?;
        visit(self.file, reader, |path, content| match content {
            Content::Folder => Ok(()),
            Content::File { length, reader, .. } => {
                loading.check()?;
                self.member(path, length, reader, &loading)
            }
        })?;
        self.end_sample()?;
        self.decode()
    }

    fn member(
        &mut self,
        path: &str,
        length: u64,
        reader: &mut dyn std::io::Read,
        loading: &Loading,
    ) -> Result<(), DataError> {
        let Some(Member { key, ending }) = Member::of(path) else { return Ok(()) };
        if self.sample.as_ref().is_none_or(|sample| sample.key != key) {
            self.end_sample()?;
            self.sample = Some(Sample::new(key));
        }
        let Some(sample) = &mut self.sample else { return Ok(()) };
        let wanted = self.parameters.image.as_deref();
        let is_it = wanted.map_or_else(|| is_image(path), |wanted| ending.eq_ignore_ascii_case(wanted));
        let problem = if is_it {
            self.pending.lent.push(loading.lend(length.saturating_mul(2))?);
            sample.take_image(ending, length, reader)
        } else if self.parameters.label.is_of(ending) {
            sample.take_label(&self.parameters.label, length, reader)
        } else {
            sample.note(ending);
            Ok(())
        };
        problem.map_err(|problem| self.file.error(problem))
    }

    /// Takes the sample whose members have been read.
    fn end_sample(&mut self) -> Result<(), DataError> {
        let Some(sample) = self.sample.take() else { return Ok(()) };
        let whole = sample.whole(&self.parameters.label, self.classes);
        let (image, label, name) = whole.map_err(|problem| self.file.error(problem))?;
        self.pending.bytes += image.len() as u64;
        self.pending.images.push((image, label, name));
        if self.pending.images.len() >= IMAGES || self.pending.bytes >= BYTES {
            return self.decode();
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<(), DataError> {
        let pending = std::mem::take(&mut self.pending);
        let encoded = pending.images.iter().map(|(bytes, label, _)| Encoded { bytes, label: *label });
        let file = self.file;
        let name = |place: usize| format!("{}/{}", file.name(), pending.images[place].2);
        self.images.extend(self.split, &encoded.collect::<Vec<_>>(), name).map_err(|rejected| {
            let place =
                |place: usize, problem| file.error(FileProblem::image(&pending.images[place].2, problem));
            rejected.into_error(place)
        })
    }
}

#[cfg(test)]
mod tests;
