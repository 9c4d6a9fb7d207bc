//! Folders of images: one folder for each class; classes and images are in the order of their names.

mod listing;

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::image::{Collector, Encoded, FormParameters, load_kept};
use super::keys;
use super::loading::Loading;
use super::places::{Places, Tree};
use super::report::{Findings, Reason};
use super::source::{Content, Source};
use super::stamp::Stamp;
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, MAX_CLASSES, Split};
use listing::{Entry, Listing};

pub(super) use listing::{endings, is_image};

/// Most images that are decoded at once, and about how many bytes of their files.
const IMAGES: usize = 1024;
const BYTES: u64 = 1 << 23;
/// Most classes that an error lists.
const LISTED: usize = 20;

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderParameters {
    train: String,
    test: Option<String>,
    /// Whether images in subfolders of a class belong to it.
    #[serde(default)]
    nested: bool,
}

/// Loads images from `train/CLASS/*.png` and the like: inputs [channels, height, width] from 0 to 1, classes in the
/// order of their folders' names. Files whose names do not end as those of images are left out, as are files and folders
/// that systems and tools make for themselves, and folders without files; the report says so.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a folder is missing, has no class, a class that the training split
/// does not have, a class with files of which none is an image, or an image that cannot be used (this worker's).
pub fn folder(parameters: &Parameters, environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    let given = parameters;
    let (form, parameters) = FormParameters::take(parameters)?;
    let parameters: FolderParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    let loading = Loading::new(environment);
    let places = Places::new(environment, &loading, is_image);
    let train = places.tree(&parameters.train, "data.train")?;
    let test = parameters.test.as_deref().map(|test| places.tree(test, "data.test")).transpose()?;
    let listing = |split| {
        let (tree, folder) = match split {
            Split::Train => (Some(&train), Some(&parameters.train)),
            Split::Test => (test.as_ref(), parameters.test.as_ref()),
        };
        Some(Listing { tree: tree?, folder: folder?, nested: parameters.nested, split })
    };
    let mut findings = Findings::default();
    let classes =
        listing(Split::Train).map(|listing| listing.classes(&loading, &mut findings)).transpose()?;
    let classes = classes.map(|classes| classes.names).unwrap_or_default();
    check_number(&parameters.train, classes.len(), &train)?;
    let stamp = || {
        let mut stamp = Stamp::new("folder", given);
        let listings = [listing(Split::Train), listing(Split::Test)];
        listings.into_iter().flatten().try_for_each(|listing| listing.stamp(&loading, &mut stamp))?;
        Ok(stamp.finish())
    };
    load_kept(&loading, form, Some(classes.len()), stamp, |split, _, images| {
        let Some(listing) = listing(split) else { return Ok(None) };
        if split == Split::Train {
            images.findings = std::mem::take(&mut findings);
            images.class_names.clone_from(&classes);
        }
        listing.read(&classes, images)?;
        Ok(Some(format!("{:?}", listing.folder)))
    })
}

/// Checks the parameters and returns `None`: the number of classes is known from the folders only.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let (form, parameters) = FormParameters::take(parameters)?;
    let _checked: FolderParameters = keys::parse(&parameters, &FormParameters::KEYS)?;
    Ok(form.input_spec(None, None, None))
}

fn check_number(folder: &str, found: usize, tree: &Tree<'_>) -> Result<(), DataError> {
    if (1..=MAX_CLASSES).contains(&found) {
        return Ok(());
    }
    let within = tree.listed().map(|listed| format!("; there are {listed}")).unwrap_or_default();
    let expected = format!("1 to {MAX_CLASSES}{within}");
    let problem = FileProblem::Count { what: "folders of classes with images", found, expected };
    Err(DataError::File { file: folder.to_owned(), problem })
}

fn label(folder: &str, name: &str, classes: &[String]) -> Result<u32, DataError> {
    // There are at most MAX_CLASSES classes, so the index fits into u32.
    let found = classes.binary_search_by(|class| class.as_str().cmp(name)).map(|class| class as u32);
    found.map_err(|_| {
        let more = if classes.len() > LISTED { ", …" } else { "" };
        let listed =
            classes.iter().take(LISTED).map(|class| format!("{class:?}")).collect::<Vec<_>>().join(", ");
        let expected = format!("a class that the training split has, too: {listed}{more}");
        let problem = FileProblem::Cell { place: "class".into(), found: format!("{name:?}"), expected };
        DataError::File { file: folder.to_owned(), problem }
    })
}

impl Listing<'_> {
    /// Reads the images of all classes; of the training split, the classes are known already.
    fn read(&self, classes: &[String], images: &mut Collector) -> Result<(), DataError> {
        let loading = images.loading().clone();
        let found = match self.split {
            Split::Train => None,
            Split::Test => Some(self.classes(&loading, &mut images.findings)?),
        };
        for name in found.as_ref().map_or(classes, |found| &found.names) {
            let class = ClassFolder { listing: self, name, label: label(self.folder, name, classes)? };
            class.read(images)?;
        }
        Ok(())
    }
}

/// The folder of one class.
struct ClassFolder<'a> {
    listing: &'a Listing<'a>,
    name: &'a str,
    label: u32,
}

impl ClassFolder<'_> {
    fn read(&self, images: &mut Collector) -> Result<(), DataError> {
        let Self { listing, name: class, .. } = *self;
        let loading = images.loading().clone();
        let (mut files, mut held) = (Vec::new(), 0);
        for name in &self.names(images)?.names {
            loading.check()?;
            let source = listing.tree.file(&format!("{class}/{name}"))?;
            let length = source.length()?;
            if files.len() >= IMAGES || held + length > BYTES {
                self.decode(&files, images)?;
                (files, held) = (Vec::new(), 0);
            }
            let content = source.content(&loading)?;
            held += length;
            files.push(ImageFile { source, content });
        }
        self.decode(&files, images)
    }

    /// The names of the images in the folder, sorted; what is left out is noted.
    fn names(&self, images: &mut Collector) -> Result<listing::Names, DataError> {
        let Self { listing, name: class, .. } = *self;
        let loading = images.loading().clone();
        let mut names = listing::Names::new(&loading)?;
        listing.visit(class, &loading, |entry, name| {
            let reason = match entry {
                Entry::Image => return names.push(name),
                Entry::Nested => Reason::Nested,
                Entry::Other(ending) => Reason::Ending(ending),
                Entry::Foreign => Reason::Foreign,
                Entry::LinkedFolder => Reason::LinkedFolder,
            };
            images.findings.leave_out(listing.split, reason, || format!("{class}/{name}"));
            Ok(())
        })?;
        names.names.sort_unstable();
        Ok(names)
    }

    fn decode(&self, files: &[ImageFile], images: &mut Collector) -> Result<(), DataError> {
        let encoded = files.iter().map(|file| Encoded { bytes: file.content.as_ref(), label: self.label });
        let name = |place: usize| files[place].source.name().to_owned();
        images.extend(self.listing.split, &encoded.collect::<Vec<_>>(), name).map_err(|rejected| {
            let place =
                |place: usize, problem| files[place].source.error(FileProblem::image("image", problem));
            rejected.into_error(place)
        })
    }
}

/// A file that was read, with its memory.
struct ImageFile {
    source: Source,
    content: Content,
}

#[cfg(test)]
mod tests;
