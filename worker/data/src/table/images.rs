//! Tables of images: a column with files of images, their names or their pixels, and a column of labels.

use lookbehind_common::job::{JobError, Parameters};

use super::columns::{Columns, Read, Row, Rules};
use super::content::class_names;
use super::header::{Header, Index, Use};
use super::labels::Labels;
use super::parameters::TableParameters;
use super::picture::Picture;
#[cfg(feature = "parquet")]
use super::picture::{planes, shape};
use super::rows::{Format, Place, Rows};
use crate::image::{Collector, Encoded, load_kept};
use crate::loading::Loading;
use crate::places::Places;
use crate::report::Reason;
use crate::source::{Content, Source};
use crate::stamp::Stamp;
use crate::{DataError, Dataset, FileProblem, Split, is_url};

/// Most images that are decoded at once, and about how many bytes of their files.
const IMAGES: usize = 1024;
const BYTES: u64 = 1 << 23;
/// Names of the columns of images that are looked for in Parquet files.
pub(super) const USUAL: [&str; 2] = ["image", "img"];

/// Loads the images of both splits; `given` are the parameters as they stand in the job.
pub(super) fn read(
    (format, given): (Format, &Parameters),
    parameters: &TableParameters,
    places: &Places<'_>,
    loading: &Loading,
    [train, test]: [&[Source]; 2],
) -> Result<Box<dyn Dataset>, DataError> {
    let classes = parameters.classes()?;
    let mut table = ImageTable {
        format,
        parameters,
        places,
        rules: Rules { dialect: parameters.dialect()?, missing: parameters.missing },
        label: parameters.wanted()?.label,
        labels: Labels::new(parameters.labels, classes, loading)?,
    };
    if let Some(names) = class_names(format, &table.rules, &table.label, [train, test], loading)? {
        table.labels.name(names);
    }
    let classes = classes.or(table.labels.named());
    let stamp = || {
        let mut stamp = Stamp::new(if format == Format::Parquet { "parquet" } else { "csv" }, given);
        train.iter().chain(test).try_for_each(|file| file.stamp(&mut stamp))?;
        Ok(stamp.finish())
    };
    load_kept(loading, parameters.form, classes, stamp, |split, classes, images| {
        let files = if split == Split::Train { train } else { test };
        table.labels.limit(classes);
        for file in files {
            table.read(split, file, images)?;
        }
        if split == Split::Train {
            images.class_names = table.labels.complete(images.targets(split));
            images.class_names.truncate(classes);
        }
        Ok((!files.is_empty()).then(|| Source::names(files)))
    })
}

struct ImageTable<'a> {
    format: Format,
    parameters: &'a TableParameters,
    places: &'a Places<'a>,
    rules: Rules,
    label: String,
    labels: Labels,
}

/// An image whose bytes were read, with its place and its memory.
struct Waiting {
    place: Place,
    /// The file that the row names.
    file: Option<Source>,
    content: Content,
    label: u32,
}

impl ImageTable<'_> {
    fn read(&mut self, split: Split, file: &Source, images: &mut Collector) -> Result<(), DataError> {
        let loading = images.loading().clone();
        let mut rows = Rows::open(self.format, file, &self.rules.dialect, &loading)?;
        let (columns, picture) = self.columns(file, &mut rows, &loading)?;
        if let Some(announced) = rows.announced() {
            images.expect(announced)?;
        }
        let mut row = Row::new(columns.header.len());
        let (mut waiting, mut held) = (Vec::new(), 0);
        loop {
            let place = rows.place_of_next()?;
            let left_out = match columns.read_row(file, &mut rows, &self.rules, &mut self.labels, &mut row)? {
                Read::End => break,
                Read::Blank => Some(Reason::BlankRow),
                Read::Incomplete => Some(Reason::MissingValue),
                Read::Row => None,
            };
            if let Some(reason) = left_out {
                images.findings.leave_out(split, reason, || format!("{}, {place}", file.name()));
                continue;
            }
            #[cfg(feature = "parquet")]
            let in_file =
                |problem| file.error(FileProblem::Image { place: columns.place(place, picture), problem });
            #[cfg(feature = "parquet")]
            if let Picture::Pixels(lengths, values) = &row.picture {
                let (shape, innermost) = shape(lengths, self.parameters.shape.as_deref())
                    .ok_or_else(|| self.no_shape(file, columns.place(place, picture), lengths))?;
                let planes = if innermost { planes(values, shape[0]) } else { values.clone() };
                images
                    .extend_raw(split, shape, &planes, &[row.label])
                    .map_err(|rejected| rejected.into_error(|_, problem| in_file(problem)))?;
                continue;
            }
            let image = self.open(file, place, columns.place(place, picture), &mut row, &loading)?;
            images.from_other_files |= image.file.is_some();
            held += image.content.as_ref().len() as u64;
            waiting.push(image);
            if waiting.len() == IMAGES || held >= BYTES {
                decode(split, file, &waiting, (&columns, picture), images)?;
                (waiting, held) = (Vec::new(), 0);
            }
        }
        decode(split, file, &waiting, (&columns, picture), images)
    }

    /// The columns of a file, and the place of that of the images.
    fn columns(
        &self,
        file: &Source,
        rows: &mut Rows<'_>,
        loading: &Loading,
    ) -> Result<(Columns, usize), DataError> {
        let mut lent = loading.lend(0)?;
        let has_line = self.parameters.header;
        let header = rows.header(file, has_line, &self.rules.dialect, loading, &mut lent)?;
        let is_line = self.format == Format::Csv && has_line;
        let names = Header { names: &header, no_data: &[], is_line };
        let index = Index::new(&names);
        let picture = match self.parameters.image() {
            Some(name) => index.find(&name),
            None => USUAL
                .iter()
                .find_map(|name| index.find(name).ok())
                .ok_or_else(|| index.missing(&USUAL.join(" or "))),
        };
        let picture = picture.map_err(|problem| file.error(problem))?;
        let label = index.find(&self.label).map_err(|problem| file.error(problem))?;
        if label == picture {
            let problem = format!("{:?} is the column of images", self.label);
            return Err(JobError::new("data.label", &problem).into());
        }
        let mut uses = vec![Use::Nothing; header.len()];
        (uses[picture], uses[label]) = (Use::Image, Use::Label);
        rows.select(&uses)?;
        Ok((Columns { header, uses, inputs: Vec::new(), _lent: lent }, picture))
    }

    /// The bytes of a row's image.
    fn open(
        &self,
        table: &Source,
        place: Place,
        column: String,
        row: &mut Row,
        loading: &Loading,
    ) -> Result<Waiting, DataError> {
        let label = row.label;
        let held = |bytes: Vec<u8>| -> Result<Waiting, DataError> {
            // Decoders keep copies of parts of a file.
            let lent = loading.lend((bytes.len() as u64).saturating_mul(2))?;
            Ok(Waiting { place, file: None, content: Content::new(bytes, lent), label })
        };
        match std::mem::replace(&mut row.picture, Picture::File(Vec::new())) {
            Picture::Named(name) => {
                let path = self.path(table, &name);
                let found = self.places.file(&path, "data.image");
                let found = found.and_then(|source| source.length().map(|_| source));
                let source = found.map_err(|error| in_row(table, column, path, error))?;
                let content = source.content(loading)?;
                Ok(Waiting { place, file: Some(source), content, label })
            }
            Picture::File(bytes) => held(bytes),
            // Pixels do not wait.
            #[cfg(feature = "parquet")]
            Picture::Pixels(..) => held(Vec::new()),
        }
    }

    /// The path of a file that a row names: relative to the folder that the job says, or to that of the table.
    fn path(&self, table: &Source, name: &str) -> String {
        let folder = match &self.parameters.root {
            Some(root) => root.trim_end_matches('/'),
            None => table.name().rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        match name.strip_prefix("./").unwrap_or(name) {
            name if is_url(name) || folder.is_empty() => name.to_owned(),
            name => format!("{folder}/{name}"),
        }
    }

    #[cfg(feature = "parquet")]
    fn no_shape(&self, file: &Source, place: String, lengths: &[usize]) -> DataError {
        let expected = match &self.parameters.shape {
            Some(shape) => format!("as many as data.shape = {shape:?} says"),
            None => {
                "lists of [height, width], of [height, width, 1 or 3] or of [1 or 3, height, width]; shape = \
                     [height, width] or [channels, height, width] says what else they are"
                    .to_owned()
            }
        };
        let found = format!("pixels in lists of the lengths {lengths:?}");
        file.error(FileProblem::Cell { place, found, expected })
    }
}

/// An error about the file that a row names.
fn in_row(table: &Source, place: String, path: String, error: DataError) -> DataError {
    match error {
        DataError::File { problem, .. } => {
            table.error(FileProblem::Named { place, file: path, problem: Box::new(problem) })
        }
        // The path stands in the table: the job is not at fault.
        DataError::Parameter(error) => {
            table.error(FileProblem::Cell { place, found: format!("{path:?}"), expected: error.problem })
        }
        error => error,
    }
}

fn decode(
    split: Split,
    table: &Source,
    waiting: &[Waiting],
    (columns, picture): (&Columns, usize),
    images: &mut Collector,
) -> Result<(), DataError> {
    let encoded = waiting.iter().map(|image| Encoded { bytes: image.content.as_ref(), label: image.label });
    let place = |index: usize| columns.place(waiting[index].place, picture);
    let name = |index: usize| match &waiting[index].file {
        Some(file) => file.name().to_owned(),
        None => format!("{} {}", table.name(), place(index)),
    };
    images.extend(split, &encoded.collect::<Vec<_>>(), name).map_err(|rejected| {
        rejected.into_error(|index, problem| match &waiting[index].file {
            Some(file) => {
                let problem = Box::new(FileProblem::image("image", problem));
                table.error(FileProblem::Named { place: place(index), file: file.name().to_owned(), problem })
            }
            None => table.error(FileProblem::Image { place: place(index), problem }),
        })
    })
}

#[cfg(test)]
mod tests;
