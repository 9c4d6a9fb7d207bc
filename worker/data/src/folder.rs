//! Folders of images: one folder for each class; classes and images are in the order of their names.

use std::ffi::OsString;
use std::path::Path;

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::Deserialize;

use super::image::{Collector, Encoded, FormParameters, load};
use super::loading::{Lent, Loading};
use super::paths::resolve_folder;
use super::source::Source;
use super::{DataEnvironment, DataError, Dataset, FileProblem, InputSpec, MAX_CLASSES, Split};

/// Most images that are decoded at once, and about how many bytes of their files.
const IMAGES: usize = 1024;
const BYTES: u64 = 1 << 23;
/// Bytes that a name takes in addition to its own, while the list of them grows.
const NAME: u64 = 128;
/// Endings of the names of image files.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Keys of `[data]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderParameters {
    train: String,
    test: Option<String>,
    resize: Option<[usize; 2]>,
    channels: Option<usize>,
}

/// Loads images from `train/CLASS/*.png` and the like: inputs [channels, height, width] from 0 to 1, classes in the
/// order of their folders' names. Files whose names do not end in .png, .jpg or .jpeg, or begin with a dot, are
/// ignored.
///
/// # Errors
/// When a parameter is wrong (the job's fault), or a folder is missing, has no class, a class that the training split
/// does not have, or an image that cannot be used (this worker's).
pub fn folder(parameters: &Parameters, environment: &DataEnvironment) -> Result<Box<dyn Dataset>, DataError> {
    let parameters: FolderParameters = parse_parameters("data", parameters)?;
    let loading = Loading::new(environment);
    let classes = classes(environment, &parameters.train, &loading)?.names;
    let form = FormParameters { resize: parameters.resize, channels: parameters.channels };
    load(&loading, form, Some(classes.len()), |split, _, images| {
        let (folder, key) = match split {
            Split::Train => (Some(&parameters.train), "data.train"),
            Split::Test => (parameters.test.as_ref(), "data.test"),
        };
        let Some(folder) = folder else { return Ok(None) };
        for name in &names(environment, folder, key, true, images.loading())?.names {
            let label = label(folder, name, &classes)?;
            let class = ClassFolder { environment, path: format!("{folder}/{name}"), key, label };
            class.read(split, images)?;
        }
        Ok(Some(format!("{folder:?}")))
    })
}

/// Checks the parameters and returns `None`: the number of classes is known from the folders only.
///
/// # Errors
/// When a parameter is wrong.
pub fn input_spec(parameters: &Parameters) -> Result<Option<InputSpec>, JobError> {
    let parameters: FolderParameters = parse_parameters("data", parameters)?;
    FormParameters { resize: parameters.resize, channels: parameters.channels }.input_spec(None, None, None)
}

fn classes(environment: &DataEnvironment, folder: &str, loading: &Loading) -> Result<Names, DataError> {
    let classes = names(environment, folder, "data.train", true, loading)?;
    let found = classes.names.len();
    if !(1..=MAX_CLASSES).contains(&found) {
        let expected = format!("1 to {MAX_CLASSES}");
        let problem = FileProblem::Count { what: "folders of classes", found, expected };
        return Err(DataError::File { file: folder.to_owned(), problem });
    }
    Ok(classes)
}

fn label(folder: &str, name: &str, classes: &[String]) -> Result<u32, DataError> {
    // There are at most MAX_CLASSES classes, so the index fits into u32.
    let found = classes.binary_search_by(|class| class.as_str().cmp(name)).map(|class| class as u32);
    found.map_err(|_| {
        let expected = "a class that the training split has, too".to_owned();
        let problem = FileProblem::Cell { place: "class".into(), found: format!("{name:?}"), expected };
        DataError::File { file: folder.to_owned(), problem }
    })
}

/// Names in order, with their memory.
struct Names {
    names: Vec<String>,
    _lent: Lent,
}

/// The names of the entries of a folder, folders or images, sorted.
fn names(
    environment: &DataEnvironment,
    folder: &str,
    key: &str,
    folders: bool,
    loading: &Loading,
) -> Result<Names, DataError> {
    let in_folder = |problem| DataError::File { file: folder.to_owned(), problem };
    let path = resolve_folder(&environment.root, folder, key)?;
    let entries = std::fs::read_dir(&path).map_err(|error| in_folder(FileProblem::Io(error)))?;
    let (mut names, mut lent) = (Vec::new(), loading.lend(0)?);
    for entry in entries {
        loading.check()?;
        let name = entry.map_err(|error| in_folder(FileProblem::Io(error)))?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && path.join(&name).is_dir() == folders && (folders || is_image(&name)) {
            lent.grow(NAME + 2 * name.len() as u64)?;
            names.push(name.into_string().map_err(|name| in_folder(unreadable(&name)))?);
        }
    }
    names.sort_unstable();
    Ok(Names { names, _lent: lent })
}

fn is_image(name: &OsString) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

fn unreadable(name: &OsString) -> FileProblem {
    let (place, expected) = ("name".to_owned(), "UTF-8".to_owned());
    FileProblem::Cell { place, found: format!("{name:?}"), expected }
}

/// The folder of one class.
struct ClassFolder<'a> {
    environment: &'a DataEnvironment,
    path: String,
    key: &'a str,
    label: u32,
}

impl ClassFolder<'_> {
    fn read(&self, split: Split, images: &mut Collector) -> Result<(), DataError> {
        let loading = images.loading().clone();
        let (mut files, mut held) = (Vec::new(), 0);
        for name in &names(self.environment, &self.path, self.key, false, &loading)?.names {
            loading.check()?;
            let source = Source::find(self.environment, &format!("{}/{name}", self.path), self.key)?;
            let length = source.length()?;
            if files.len() >= IMAGES || held + length > BYTES {
                self.decode(split, &files, images)?;
                (files, held) = (Vec::new(), 0);
            }
            // Decoders keep copies of parts of a file.
            let lent = loading.lend(length.saturating_mul(2))?;
            let bytes = source.read_whole(length, &loading)?;
            held += length;
            files.push(ImageFile { source, bytes, _lent: lent });
        }
        self.decode(split, &files, images)
    }

    fn decode(&self, split: Split, files: &[ImageFile], images: &mut Collector) -> Result<(), DataError> {
        let encoded = files.iter().map(|file| Encoded { bytes: &file.bytes, label: self.label });
        images.extend(split, &encoded.collect::<Vec<_>>()).map_err(|rejected| {
            let place =
                |place: usize, problem| files[place].source.error(FileProblem::image("image", problem));
            rejected.into_error(place)
        })
    }
}

/// A file that was read, with its memory.
struct ImageFile {
    source: Source,
    bytes: Vec<u8>,
    _lent: Lent,
}

#[cfg(test)]
mod tests;
