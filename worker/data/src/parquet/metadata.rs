//! What programs write about a table beside its columns: the names of classes, and which columns are no data.

use serde_json::Value;

use crate::MAX_CLASSES;

/// The names of the classes of a column, in the order of their numbers, as the library `datasets` of Hugging Face writes
/// them (`ClassLabel`).
pub(super) fn class_names(huggingface: Option<&Value>, column: &str) -> Option<Vec<String>> {
    let feature = huggingface?.get("info")?.get("features")?.get(column)?;
    if feature.get("_type")? != "ClassLabel" {
        return None;
    }
    let names = feature.get("names")?.as_array()?;
    let names: Vec<String> =
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    (1..=MAX_CLASSES).contains(&names.len()).then_some(names)
}

/// The columns that were the index of a pandas table, which names its rows.
pub(super) fn index_columns(pandas: Option<&Value>) -> Vec<String> {
    let columns = pandas.and_then(|pandas| pandas.get("index_columns")).and_then(Value::as_array);
    // An index that only counts stands there as an object, and has no column.
    columns.into_iter().flatten().filter_map(|column| column.as_str().map(str::to_owned)).collect()
}
