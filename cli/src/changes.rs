//! What a job file says otherwise than an earlier version of it.

use std::collections::{BTreeMap, BTreeSet};

use lookbehind_common::job::JobFile;
use serde_json::Value;

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
#[expect(clippy::expect_used, reason = "the keys of a job file are texts, and JSON has all of its values")]
pub(crate) fn keys(file: &JobFile) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    // As JSON, because TOML does not have all seeds that a job may have over gRPC.
    collect("", serde_json::to_value(file).expect("a job file is JSON"), &mut keys);
    keys
}

/// Collects the values below a key. A key that is not given is no key.
fn collect(path: &str, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => fields.into_iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            collect(&path, value, keys);
        }),
        Value::Null => {}
        value => drop(keys.insert(path.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests;
