//! Loads the splits of a data set of images, unless they are indexed and kept.

use lookbehind_common::digest::Digest;

use super::Collector;
use crate::image::indexed;
use crate::image::parameters::FormParameters;
use crate::loading::Loading;
use crate::{DataError, Dataset, MAX_CLASSES, Split};

/// Loads a data set of images: `read` puts the images of a split, with labels below the given number, into the
/// collector. It returns a description of the files that they come from, or `None` if the job does not ask for that
/// split. If no number of classes is given, it is one more than the greatest label of the training split.
pub(crate) fn load(
    loading: &Loading,
    form: FormParameters,
    classes: Option<usize>,
    read: impl FnMut(Split, usize, &mut Collector) -> Result<Option<String>, DataError>,
) -> Result<Box<dyn Dataset>, DataError> {
    load_as(loading, form, classes, None, read)
}

/// As [`load`], of data whose files `stamp` tells from others: if they are indexed and kept since they were read before,
/// they are not read again.
pub(crate) fn load_kept(
    loading: &Loading,
    form: FormParameters,
    classes: Option<usize>,
    stamp: impl FnOnce() -> Result<Digest, DataError>,
    read: impl FnMut(Split, usize, &mut Collector) -> Result<Option<String>, DataError>,
) -> Result<Box<dyn Dataset>, DataError> {
    if !form.is_indexed() || loading.cache().is_none() || loading.has_new_samples() {
        return load(loading, form, classes, read);
    }
    let name = indexed::name(&stamp()?);
    match indexed::find(&name, &form, loading)? {
        Some(data) => Ok(Box::new(data)),
        None => load_as(loading, form, classes, Some(&name), read),
    }
}

fn load_as(
    loading: &Loading,
    form: FormParameters,
    classes: Option<usize>,
    name: Option<&Digest>,
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
    images.finish(classes, name)
}
