//! The labels of a table: numbers of classes, or texts that become classes in their order.

use std::collections::HashMap;

use super::header::listed;
use super::numbers::{class, is_missing, is_number};
use super::parameters::LabelKind;
use crate::loading::{Lent, Loading};
use crate::samples::Blocks;
use crate::{DataError, MAX_CLASSES};

/// Bytes that a text takes in addition to its own two copies.
const TEXT: u64 = 128;

/// How the labels of a data set become classes.
pub(super) struct Labels {
    kind: LabelKind,
    /// The kind that the first label has, unless the job says it.
    found: Option<LabelKind>,
    /// Most classes that there may be.
    classes: usize,
    /// The class of each text; while the training split is read, in the order in which they occur.
    known: HashMap<String, u32>,
    /// The names of classes that are numbers in the files, if these have names for them.
    named: Vec<String>,
    /// Whether the training split was read, so that no text is new.
    complete: bool,
    lent: Lent,
}

/// What a label is.
pub(super) enum Label {
    Class(u32),
    Missing,
    /// None that is expected here, with what is.
    Wrong(String),
}

impl Labels {
    pub(super) fn new(kind: LabelKind, classes: Option<usize>, loading: &Loading) -> Result<Self, DataError> {
        let lent = loading.lend(0)?;
        let classes = classes.unwrap_or(MAX_CLASSES);
        let (known, named) = (HashMap::new(), Vec::new());
        Ok(Self { kind, found: None, classes, known, named, complete: false, lent })
    }

    /// The files have names for the numbers of the classes; they have no meaning where each label is a text.
    pub(super) fn name(&mut self, names: Vec<String>) {
        if self.kind != LabelKind::Text {
            self.classes = self.classes.min(names.len());
            self.named = names;
        }
    }

    /// Number of classes that have names in the files.
    pub(super) fn named(&self) -> Option<usize> {
        (!self.named.is_empty()).then_some(self.named.len())
    }

    /// The label that a cell has.
    pub(super) fn read(&mut self, text: &str) -> Result<Label, DataError> {
        let missing = if self.kind == LabelKind::Text { text.is_empty() } else { is_missing(text) };
        if missing {
            return Ok(Label::Missing);
        }
        let found = *self.found.get_or_insert_with(|| match self.kind {
            LabelKind::Auto if is_number(text) => LabelKind::Numbers,
            LabelKind::Auto => LabelKind::Text,
            given => given,
        });
        match (found, class(text)) {
            (LabelKind::Text, _) if self.kind == LabelKind::Auto && is_number(text) => {
                let expected = "a name as before; labels = \"text\" takes numbers as names, too";
                Ok(Label::Wrong(expected.to_owned()))
            }
            (LabelKind::Text, _) => self.of_text(text),
            (_, Some(class)) if (class as usize) < self.classes => Ok(Label::Class(class)),
            _ => Ok(Label::Wrong(self.not_a_class())),
        }
    }

    fn of_text(&mut self, text: &str) -> Result<Label, DataError> {
        if let Some(&class) = self.known.get(text) {
            return Ok(Label::Class(class));
        }
        if self.complete || self.known.len() == self.classes {
            return Ok(Label::Wrong(self.not_a_label()));
        }
        self.lent.grow(TEXT + 2 * text.len() as u64)?;
        let class = self.known.len() as u32;
        self.known.insert(text.to_owned(), class);
        Ok(Label::Class(class))
    }

    fn not_a_class(&self) -> String {
        let classes = self.classes;
        format!("a class from 0 to {}; labels = \"text\" takes each different label as a class", classes - 1)
    }

    fn not_a_label(&self) -> String {
        if !self.complete {
            return format!("at most {} different labels", self.classes);
        }
        let mut names: Vec<&String> = self.known.keys().collect();
        names.sort_unstable();
        format!("a label that the training split has, too: {}", listed(names))
    }

    /// Ends the training split: texts become classes in their order. Returns the names of the classes, if they have any.
    pub(super) fn complete(&mut self, targets: Option<&mut Blocks<u32>>) -> Vec<String> {
        self.complete = true;
        if !self.named.is_empty() {
            return std::mem::take(&mut self.named);
        }
        let mut names: Vec<String> = self.known.keys().cloned().collect();
        names.sort_unstable();
        let mut classes = vec![0; names.len()];
        for (class, name) in names.iter().enumerate() {
            if let Some(place) = self.known.get_mut(name) {
                classes[*place as usize] = class as u32;
                *place = class as u32;
            }
        }
        if let Some(targets) = targets.filter(|_| !names.is_empty()) {
            targets.for_each_mut(|target| *target = classes[*target as usize]);
        }
        names
    }

    /// The number of classes is known.
    pub(super) fn limit(&mut self, classes: usize) {
        self.classes = classes;
    }
}
