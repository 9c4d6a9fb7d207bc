//! The header of a table: which column is for what.

use std::collections::{BTreeMap, HashMap};

use super::numbers::is_number;
use super::parameters::Wanted;
use crate::FileProblem;

/// Longest text of a cell, and most names of columns, in an error.
const SHOWN: usize = 40;
const NAMES: usize = 20;

/// What a column is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Use {
    #[default]
    Nothing,
    Label,
    /// Images: names of files, their bytes, or pixels.
    Image,
    Number,
    /// Texts, of which each is a number: its place in the order of the job.
    Ordinal(HashMap<String, u32>),
    /// Texts, of which each is an input of its own; empty until they were collected.
    OneHot(HashMap<String, u32>),
}

impl Use {
    /// Number of inputs that the column becomes.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Nothing | Self::Label | Self::Image => 0,
            Self::Number | Self::Ordinal(_) => 1,
            Self::OneHot(texts) => texts.len(),
        }
    }
}

/// The columns of a header.
pub(super) struct Found {
    pub(super) uses: Vec<Use>,
    /// Places of the inputs, in the order in which a sample has them.
    pub(super) inputs: Vec<usize>,
    /// Places of columns without a name, which are left out.
    pub(super) unnamed: Vec<usize>,
}

/// The names of a file's columns.
pub(super) struct Header<'a> {
    pub(super) names: &'a [String],
    /// Those that are no data.
    pub(super) no_data: &'a [String],
    /// Whether they stand in the first line of a text, which may be a row in truth.
    pub(super) is_line: bool,
}

/// The use of each column of a header; with `may_lack_label`, the column of labels may be missing. `texts` are the texts of the columns that become one input for each.
pub(super) fn find(
    header: &Header<'_>,
    wanted: &Wanted,
    ordinal: &BTreeMap<String, Vec<String>>,
    texts: &HashMap<String, HashMap<String, u32>>,
    may_lack_label: bool,
) -> Result<Found, FileProblem> {
    let index = Index::new(header);
    let label = match index.find(&wanted.label) {
        Err(FileProblem::NoColumn { .. }) if may_lack_label => None,
        found => Some(found?),
    };
    let (inputs, unnamed) = match &wanted.inputs {
        Some(names) => (names.iter().map(|name| index.find(name)).collect::<Result<_, _>>()?, Vec::new()),
        None => others(&index, label, wanted)?,
    };
    if inputs.is_empty() {
        let expected = format!("at least one; there are {}", listed(header.names));
        return Err(FileProblem::Count { what: "columns of inputs", found: 0, expected });
    }
    let mut uses = vec![Use::Nothing; header.names.len()];
    inputs.iter().for_each(|&place| uses[place] = Use::Number);
    for name in &wanted.one_hot {
        let texts = texts.get(name).cloned().unwrap_or_default();
        declare(&index, &mut uses, name, Use::OneHot(texts))?;
    }
    for (name, order) in ordinal {
        let places = order.iter().cloned().zip(0..).collect();
        declare(&index, &mut uses, name, Use::Ordinal(places))?;
    }
    if let Some(label) = label {
        uses[label] = Use::Label;
    }
    Ok(Found { uses, inputs, unnamed })
}

/// The places of all columns that have a name and are not the label or excluded, and of those without a name.
fn others(
    index: &Index<'_>,
    label: Option<usize>,
    wanted: &Wanted,
) -> Result<(Vec<usize>, Vec<usize>), FileProblem> {
    let header = index.header.names;
    wanted.exclude.iter().try_for_each(|name| index.find(name).map(|_| ()))?;
    let (unnamed, named): (Vec<usize>, Vec<usize>) = (0..header.len())
        .partition(|&place| is_unnamed(&header[place]) || index.header.no_data.contains(&header[place]));
    let used = |place: &usize| Some(*place) != label && !wanted.exclude.contains(&header[*place]);
    let inputs = named.into_iter().filter(used).map(|place| index.find(&header[place]));
    Ok((inputs.collect::<Result<_, _>>()?, unnamed))
}

/// Gives an input another use than as a number.
fn declare(index: &Index<'_>, uses: &mut [Use], name: &str, usage: Use) -> Result<(), FileProblem> {
    match uses.get_mut(index.find(name)?) {
        Some(used @ Use::Number) => {
            *used = usage;
            Ok(())
        }
        _ => {
            let problem = "is no input, as data.one_hot or data.ordinal needs".to_owned();
            Err(FileProblem::NoInput { column: shorten(name), problem })
        }
    }
}

/// Whether a name is none: pandas writes the numbers of rows without one, and reads that as a name of its own.
fn is_unnamed(name: &str) -> bool {
    let number =
        name.strip_prefix("Unnamed: ").or_else(|| name.strip_prefix("__index_level_")?.strip_suffix("__"));
    name.is_empty() || number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The places of the names of a header.
pub(super) struct Index<'a> {
    header: &'a Header<'a>,
    /// The place of each name, and whether there is a second one.
    places: HashMap<&'a str, (usize, bool)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(header: &'a Header<'a>) -> Self {
        let mut places: HashMap<&str, (usize, bool)> = HashMap::with_capacity(header.names.len());
        for (place, name) in header.names.iter().enumerate() {
            places.entry(name).and_modify(|(_, twice)| *twice = true).or_insert((place, false));
        }
        Self { header, places }
    }

    /// The place of a column.
    pub(super) fn find(&self, column: &str) -> Result<usize, FileProblem> {
        let (header, name) = (self.header.names, || shorten(column));
        match self.places.get(column) {
            Some((_, true)) => Err(FileProblem::ColumnTwice { column: name(), present: listed(header) }),
            Some(&(place, false)) => Ok(place),
            None if self.header.is_line && header.iter().all(|name| is_number(name)) => {
                Err(FileProblem::NoHeader { column: name() })
            }
            None => Err(self.missing(column)),
        }
    }

    /// That a column is missing.
    pub(super) fn missing(&self, column: &str) -> FileProblem {
        FileProblem::NoColumn { column: shorten(column), present: listed(self.header.names) }
    }
}

/// The first of several names, for errors.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let mut listed: Vec<String> = names.by_ref().take(NAMES).map(|name| shorten(name)).collect();
    if names.next().is_some() {
        listed.push("…".into());
    }
    listed.join(", ")
}

pub(super) fn shorten(text: &str) -> String {
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}
