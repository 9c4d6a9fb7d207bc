//! How the names of a file become those of the model.

mod libraries;
mod pattern;

use std::collections::BTreeMap;

use lookbehind_common::job::Naming;

use super::{ImportError, explain};
use libraries::Names;

/// A way to rename tensors, which remembers which parts of it have had an effect.
pub(super) enum Renaming<'a> {
    /// The names are the model's.
    Unchanged,
    /// A library's names.
    Library(Names),
    /// A user's replacements, and which of them matched a name.
    Replaced(BTreeMap<&'a str, Replacement<'a>>),
}

/// What takes the place of a part of a name.
pub(super) struct Replacement<'a> {
    with: &'a str,
    is_used: bool,
}

impl<'a> Renaming<'a> {
    /// # Errors
    /// If the library has no names for models of this kind.
    pub(super) fn new(naming: Option<&'a Naming>, kind: &str) -> Result<Self, ImportError> {
        match naming {
            None => Ok(Self::Unchanged),
            Some(Naming::Library(library)) => Names::of(*library, kind)
                .map(Self::Library)
                .ok_or_else(|| ImportError::NoNames { library: library.as_str(), kind: kind.to_owned() }),
            Some(Naming::Replaced(table)) => {
                let replacement = |with: &'a String| Replacement { with, is_used: false };
                Ok(Self::Replaced(
                    table.iter().map(|(part, with)| (part.as_str(), replacement(with))).collect(),
                ))
            }
        }
    }

    /// The name that a tensor has in the model, and its place among the tensors of that name; `None` if it is no part of
    /// the model's function.
    pub(super) fn rename(&mut self, name: &str) -> Option<(String, usize)> {
        match self {
            Self::Unchanged => Some((name.to_owned(), 0)),
            Self::Library(names) => names.rename(name),
            Self::Replaced(table) => Some((replaced(name, table), 0)),
        }
    }

    /// Refuses a replacement that no name had.
    pub(super) fn check_all_used(&self, names: &[String]) -> Result<(), ImportError> {
        let Self::Replaced(table) = self else { return Ok(()) };
        match table.iter().find(|(_, replacement)| !replacement.is_used) {
            None => Ok(()),
            Some((part, _)) => {
                let names = explain::listed(names.to_vec());
                Err(ImportError::NoEffect { key: "names", value: (*part).to_owned(), names })
            }
        }
    }
}

/// A name with its parts replaced, from left to right: at each part, the longest run of parts that has a replacement.
fn replaced(name: &str, table: &mut BTreeMap<&str, Replacement<'_>>) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let mut out: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < parts.len() {
        let run = |end: &usize| parts[at..*end].join(".");
        let end = (at + 1..=parts.len()).rev().find(|end| table.contains_key(run(end).as_str()));
        if let Some(end) = end
            && let Some(replacement) = table.get_mut(run(&end).as_str())
        {
            replacement.is_used = true;
            out.extend(Some(replacement.with).filter(|with| !with.is_empty()));
            at = end;
        } else {
            out.push(parts[at]);
            at += 1;
        }
    }
    out.join(".")
}
