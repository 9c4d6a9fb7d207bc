//! What a job file says otherwise than an earlier version of it.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::job::JobFile;
use toml::{Table, Value};

/// Most changes that are listed; more are counted.
const LISTED: usize = 5;

/// The keys whose values differ, with both values, as text. Empty if none does.
pub fn between(earlier: &JobFile, now: &JobFile) -> String {
    let [earlier, now] = [earlier, now].map(keys);
    let all: BTreeSet<&String> = earlier.keys().chain(now.keys()).collect();
    let differing = all.into_iter().filter(|key| earlier.get(*key) != now.get(*key));
    let value = |values: &BTreeMap<String, Value>, key: &String| {
        values.get(key).map_or_else(|| "absent".to_owned(), Value::to_string)
    };
    let changes: Vec<String> = differing
        .map(|key| format!("{key} is {} and was {}", value(&now, key), value(&earlier, key)))
        .collect();
    match changes.get(..LISTED) {
        Some(first) if changes.len() > LISTED => {
            format!("{} and {} more", first.join(", "), changes.len() - LISTED)
        }
        _ => changes.join(", "),
    }
}

/// All keys of a job file by their path.
fn keys(file: &JobFile) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    // What TOML cannot express is in no file.
    collect("", Table::try_from(file).unwrap_or_default(), &mut keys);
    keys
}

fn collect(path: &str, table: Table, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = if path.is_empty() { name } else { format!("{path}.{name}") };
        match value {
            Value::Table(table) => collect(&path, table, keys),
            value => drop(keys.insert(path, value)),
        }
    }
}

#[cfg(test)]
mod tests;
