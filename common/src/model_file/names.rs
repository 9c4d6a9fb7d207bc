//! Names of tensors in files that others wrote: what explains that one is missing, and how it is mended.

use safetensors::SafeTensors;

use super::shorten;
use crate::layout::Layout;

/// Most names that an error lists.
const LISTED: usize = 8;

/// The names that a file has, for the error about the one that it lacks; and the prefix that is to be taken off, if that
/// gives all names of the layout.
pub(super) fn explained(file: &SafeTensors<'_>, layout: &Layout, missing: &str) -> String {
    let mut names = file.names();
    names.sort_unstable();
    let listed: Vec<_> = names.iter().take(LISTED).map(|name| format!("{:?}", shorten(name))).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = if names.is_empty() { "no tensors".to_owned() } else { listed.join(", ") };
    let is_one = |prefix: &&str| {
        let has = |name: &str| names.binary_search(&format!("{prefix}{name}").as_str()).is_ok();
        layout.entries().iter().all(|entry| has(&entry.spec.name))
    };
    let prefixes = names.iter().filter_map(|name| name.strip_suffix(missing));
    let mended = match prefixes.filter(|prefix| !prefix.is_empty()).find(is_one) {
        None => String::new(),
        Some(prefix) => {
            format!("; model.init = {{ file = \"...\", strip_prefix = {prefix:?} }} takes the prefix off")
        }
    };
    format!("{listed}{more}{mended}")
}
