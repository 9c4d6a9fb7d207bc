//! What a user can do about a file whose names or shapes are not the model's.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::job::{ImportedFile, Library, MissingStatistics, Naming};
use lookbehind_common::layout::{TensorEntry, TensorKind};
use lookbehind_common::text::brief;

use super::names::Renaming;
use super::{Wanted, are_positions, is_under_any};

/// Most names that an error lists.
const LISTED: usize = 8;
/// Most characters of a name in an error.
const SHOWN: usize = 100;
/// Most parts of a name that are tried as a prefix.
const PARTS: usize = 3;

/// Some of the names.
pub(super) fn listed(mut names: Vec<String>) -> String {
    names.sort_unstable();
    let shown: Vec<_> = names.iter().take(LISTED).map(|name| format!("{:?}", brief(name, SHOWN))).collect();
    match names.len().saturating_sub(LISTED) {
        0 if names.is_empty() => "no tensors".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The keys with which the file has all tensors of the model; `None` if no choice of prefix and library gives all.
pub(super) fn mending(names: &[String], from: &ImportedFile, model: Wanted<'_>) -> Option<String> {
    let libraries = Library::ALL.map(|library| Some(Naming::Library(library)));
    let namings = [from.names.clone(), None].into_iter().chain(libraries);
    let choices =
        namings.flat_map(|naming| prefixes(names).into_iter().map(move |prefix| (naming.clone(), prefix)));
    let (naming, prefix) = choices
        .filter(|(naming, prefix)| (naming, prefix) != (&from.names, &from.strip_prefix))
        .find(|(naming, prefix)| has_all(names, naming.as_ref(), prefix, from, model))?;
    let mut keys = Vec::new();
    if prefix != from.strip_prefix {
        keys.push(format!("strip_prefix = {prefix:?}"));
    }
    match naming {
        None if from.names.is_some() => keys.push("no names".to_owned()),
        Some(Naming::Library(library)) if naming != from.names => {
            keys.push(format!("names = {:?}", library.as_str()));
        }
        _ => {}
    }
    Some(format!("; with {} in model.init, all names are there", keys.join(", ")))
}

/// What may stand before the names of a whole file: the beginnings that most of its names have, the shortest first.
fn prefixes(names: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for name in names {
        let ends = name.match_indices('.').map(|(end, _)| end + 1).take(PARTS);
        ends.for_each(|end| *counts.entry((end, &name[..end])).or_default() += 1);
    }
    let common = counts.into_iter().filter(|(_, count)| 2 * count > names.len());
    std::iter::once(String::new()).chain(common.map(|((_, prefix), _)| prefix.to_owned())).collect()
}

fn has_all(
    names: &[String],
    naming: Option<&Naming>,
    prefix: &str,
    from: &ImportedFile,
    model: Wanted<'_>,
) -> bool {
    let Ok(mut renaming) = Renaming::new(naming, model.kind) else { return false };
    let stripped = names.iter().filter_map(|name| name.strip_prefix(prefix));
    let found: BTreeSet<String> =
        stripped.filter_map(|name| renaming.rename(name)).map(|(name, _)| name).collect();
    let initial = from.missing_statistics == MissingStatistics::Initial;
    model.layout.entries().iter().all(|entry| {
        let may_lack = initial && entry.spec.kind == TensorKind::RunningStatistic;
        may_lack || is_under_any(&entry.spec.name, &from.fresh) || found.contains(&entry.spec.name)
    })
}

/// What can be done about a tensor of another shape.
pub(super) fn other_shape(entry: &TensorEntry, kind: &str, found: &[usize]) -> String {
    let name = entry.spec.name.as_str();
    if are_positions(name) {
        return "; positions = \"resample\" in model.init fits them to the model's patches".to_owned();
    }
    if (kind, name) == ("resnet", "conv1.weight") && found.ends_with(&[7, 7]) {
        return "; the file is one of a network with stem = \"imagenet\" in model".to_owned();
    }
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    format!("; fresh = [{module:?}] in model.init draws the module from the seed")
}
