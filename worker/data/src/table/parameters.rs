//! The keys of `[data]` for tables.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::job::{JobError, Parameters};
use serde::Deserialize;

use super::rows::Format;
use crate::image::FormParameters;
use crate::source::Paths;
use crate::{check_classes, keys};

/// Keys that only texts need.
const OF_TEXTS: [&str; 5] = ["header", "delimiter", "quote", "decimal", "thousands"];

/// Keys of `[data]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableParameters {
    pub(super) train: Paths,
    pub(super) test: Option<Paths>,
    /// The column of labels.
    label: Option<Name>,
    /// How labels become classes.
    #[serde(default)]
    pub(super) labels: LabelKind,
    /// The columns of inputs; by default all others that have a name.
    pub(super) columns: Option<Vec<Name>>,
    /// Columns that are not used.
    #[serde(default)]
    pub(super) exclude: Vec<Name>,
    /// Columns of texts, of which each becomes as many inputs as it has different texts.
    #[serde(default)]
    pub(super) one_hot: Vec<Name>,
    /// Columns of texts that become numbers, in the order in which the texts stand here.
    #[serde(default)]
    pub(super) ordinal: BTreeMap<String, Vec<String>>,
    /// Shape of a sample; by default [number of inputs].
    pub(super) shape: Option<Vec<usize>>,
    classes: Option<u64>,
    /// The column of images.
    pub(super) image: Option<Name>,
    /// The folder of the files that a column of images names; that of the table by default.
    pub(super) root: Option<String>,
    /// What stands between two cells; found in the first line by default.
    delimiter: Option<String>,
    /// What stands around a cell that has a delimiter in it.
    #[serde(default = "quote")]
    quote: char,
    /// Whether the first line has the names of the columns.
    #[serde(default = "yes")]
    pub(super) header: bool,
    /// What stands before the fraction of a number.
    #[serde(default = "point")]
    decimal: char,
    /// What stands between groups of three digits.
    thousands: Option<char>,
    /// What happens where a value is missing.
    #[serde(default)]
    pub(super) missing: Missing,
    /// The form of the images.
    #[serde(skip)]
    pub(super) form: FormParameters,
    /// A key of the form that the job has.
    #[serde(skip)]
    pub(super) of_form: Option<&'static str>,
}

fn quote() -> char {
    '"'
}

fn point() -> char {
    '.'
}

fn yes() -> bool {
    true
}

/// The name of a column, or its number where columns have no names.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected the name of a column, or its number")]
pub(super) enum Name {
    Text(String),
    Number(u32),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// How labels become classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LabelKind {
    /// As numbers if the first one is a number, as text otherwise.
    #[default]
    Auto,
    /// Numbers of classes, from 0.
    Numbers,
    /// Each different text is a class; they are in the order of the texts.
    Text,
}

/// What happens where a value is missing.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected \"refuse\", \"skip\" or a number")]
pub(super) enum Missing {
    Policy(Policy),
    /// The number stands for every missing number.
    Replace(f32),
}

/// What happens to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Policy {
    /// The first one ends loading.
    Refuse,
    /// It is left out.
    Skip,
}

impl Default for Missing {
    fn default() -> Self {
        Self::Policy(Policy::Refuse)
    }
}

/// What stands between the cells of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// The one that the first line has most of.
    Found,
    Byte(u8),
    /// Any number of spaces and tabs.
    Whitespace,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: Delimiter,
    pub(super) quote: u8,
    pub(super) decimal: char,
    pub(super) thousands: Option<char>,
}

/// The columns that a job names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) label: String,
    pub(super) inputs: Option<Vec<String>>,
    pub(super) exclude: BTreeSet<String>,
    pub(super) one_hot: BTreeSet<String>,
}

impl TableParameters {
    pub(super) fn parse(format: Format, parameters: &Parameters) -> Result<Self, JobError> {
        let given = |key: &&&'static str| parameters.contains_key(**key);
        if let (Format::Parquet, Some(key)) = (format, OF_TEXTS.iter().find(given)) {
            return Err(JobError::new(&format!("data.{key}"), "has no meaning for Parquet files; remove it"));
        }
        let of_form = FormParameters::KEYS.iter().find(given).copied();
        let (form, rest) = FormParameters::take(parameters)?;
        let hidden: &[&str] = if format == Format::Parquet { &OF_TEXTS } else { &[] };
        let parsed: Self = keys::parse_without(&rest, &FormParameters::KEYS, hidden)?;
        let parsed = Self { form, of_form, ..parsed };
        parsed.check_content(format)?;
        Ok(parsed)
    }

    /// The column of images, if the job names it.
    pub(super) fn image(&self) -> Option<String> {
        self.image.clone().map(Name::into_text)
    }

    pub(super) fn classes(&self) -> Result<Option<usize>, JobError> {
        self.classes.map(check_classes).transpose()
    }

    /// The columns that the job names, each once.
    pub(super) fn wanted(&self) -> Result<Wanted, JobError> {
        let text = |names: &[Name]| names.iter().cloned().map(Name::into_text).collect::<Vec<_>>();
        let label = match (&self.label, self.header) {
            (Some(label), _) => label.clone().into_text(),
            (None, true) => "label".to_owned(),
            (None, false) => {
                let problem = "is required where header = false: the number of the column of labels, from 0";
                return Err(JobError::new("data.label", problem));
            }
        };
        let inputs = self.columns.as_deref().map(text);
        if let Some(names) = &inputs {
            check_columns(names, &label)?;
            if !self.exclude.is_empty() {
                let problem = "has no meaning where data.columns names the inputs; remove it";
                return Err(JobError::new("data.exclude", problem));
            }
        }
        let exclude: BTreeSet<_> = text(&self.exclude).into_iter().collect();
        let one_hot: BTreeSet<_> = text(&self.one_hot).into_iter().collect();
        if exclude.contains(&label) {
            return Err(JobError::new("data.exclude", &format!("{label:?} is the column of labels")));
        }
        if let Some(both) = one_hot.iter().find(|name| self.ordinal.contains_key(*name)) {
            return Err(JobError::new("data.one_hot", &format!("{both:?} stands in data.ordinal as well")));
        }
        Ok(Wanted { label, inputs, exclude, one_hot })
    }

    pub(super) fn dialect(&self) -> Result<Dialect, JobError> {
        let delimiter = match self.delimiter.as_deref() {
            None => Delimiter::Found,
            Some("whitespace") => Delimiter::Whitespace,
            Some(text) => Delimiter::Byte(byte(text).ok_or_else(|| {
                let problem = format!("expected one character of ASCII or \"whitespace\", found {text:?}");
                JobError::new("data.delimiter", &problem)
            })?),
        };
        let quote = byte(&self.quote.to_string()).ok_or_else(|| {
            let problem = format!("expected a character of ASCII, found {:?}", self.quote);
            JobError::new("data.quote", &problem)
        })?;
        if !['.', ','].contains(&self.decimal) {
            let problem = format!("expected \".\" or \",\", found {:?}", self.decimal);
            return Err(JobError::new("data.decimal", &problem));
        }
        if let Some(thousands) =
            self.thousands.filter(|&c| c == self.decimal || c.is_ascii_digit() || c == '-')
        {
            let problem = format!("expected a character that no number has, found {thousands:?}");
            return Err(JobError::new("data.thousands", &problem));
        }
        Ok(Dialect { delimiter, quote, decimal: self.decimal, thousands: self.thousands })
    }
}

fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(*byte),
        _ => None,
    }
}

fn check_columns(names: &[String], label: &str) -> Result<(), JobError> {
    let refuse = |problem: &str| Err(JobError::new("data.columns", problem));
    if names.is_empty() {
        return refuse("expected at least one, found none");
    }
    if names.iter().any(|name| name == label) {
        return refuse(&format!("{label:?} is the column of labels"));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => refuse(&format!("{twice:?} is listed more than once")),
        None => Ok(()),
    }
}
