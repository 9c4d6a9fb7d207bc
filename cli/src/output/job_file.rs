//! Writes a job that a coordinator stores as a job file. Of its strings and keys, characters that would act on what shows
//! the file are escaped, which means the same to every reader of TOML.

use std::fmt::Write;

use lookbehind_common::job::JobFile;
use lookbehind_common::text::is_active;
use toml::{Table, Value};

/// The job as TOML.
///
/// # Errors
/// If TOML cannot express a value.
pub fn write(file: &JobFile) -> Result<String, toml::ser::Error> {
    let sections = Table::try_from(file)?;
    let mut text = String::new();
    section("", &sections, &mut text);
    Ok(text)
}

/// Writes a table: its values first, then its sub-tables. Sections without keys are left out.
fn section(path: &str, table: &Table, text: &mut String) {
    let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    if !path.is_empty() && !values.is_empty() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "\n[{path}]");
    }
    for (name, value) in values {
        let _ = writeln!(text, "{} = {}", key(name), inline(value));
    }
    for (name, value) in tables {
        if let Value::Table(table) = value {
            let inner = if path.is_empty() { key(name) } else { format!("{path}.{}", key(name)) };
            section(&inner, table, text);
        }
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(content) => quoted(content),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let fields: Vec<String> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
    }
}

fn key(name: &str) -> String {
    let bare = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string.
fn quoted(content: &str) -> String {
    let mut text = String::from('"');
    for letter in content.chars() {
        let _ = match letter {
            '"' | '\\' => write!(text, "\\{letter}"),
            letter if is_active(letter) => write!(text, "\\U{:08X}", u32::from(letter)),
            letter => write!(text, "{letter}"),
        };
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
