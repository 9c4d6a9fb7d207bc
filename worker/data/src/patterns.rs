//! Names of several files in one: `part-{000..127}.tar`, `{a,b}.csv` and `part-*.csv`. A file whose own name reads so is
//! meant itself.

use std::path::Path;

use glob::{MatchOptions, Pattern, glob_with};
use lookbehind_common::job::JobError;

use super::paths::{check_in, resolve_in};
use super::{DataEnvironment, DataError, FileProblem, is_url};

/// Most files that the names of a key may stand for together.
const MAX_FILES: usize = 1 << 17;

/// The names of the files that these names stand for: braces in the order that they are written in, wildcards in the order of
/// the names. In URLs only braces are expanded.
///
/// # Errors
/// When no file matches, or they stand for too many.
pub(super) fn expanded(
    environment: &DataEnvironment,
    names: &[String],
    key: &str,
) -> Result<Vec<String>, DataError> {
    let mut files = Vec::new();
    for name in names {
        if !is_url(name) && is_there(environment, name, key) {
            files.push(name.clone());
            continue;
        }
        for name in braces(name).map_err(|problem| JobError::new(key, &problem))? {
            match is_url(&name) || !has_wildcards(&name) {
                true => files.push(name),
                false => matching(environment, &name, key, &mut files)?,
            }
            if files.len() > MAX_FILES {
                return Err(JobError::new(key, &format!("expected at most {MAX_FILES} files")).into());
            }
        }
    }
    Ok(files)
}

fn is_there(environment: &DataEnvironment, name: &str, key: &str) -> bool {
    resolve_in(environment, name, key).is_ok()
}

fn has_wildcards(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// Adds the files that match a name with wildcards.
fn matching(
    environment: &DataEnvironment,
    name: &str,
    key: &str,
    files: &mut Vec<String>,
) -> Result<(), DataError> {
    check_in(environment, name, key)?;
    let in_folder = |source| DataError::Folder { folder: environment.root.clone(), source };
    let root = environment.root.canonicalize().map_err(in_folder)?;
    let is_absolute = Path::new(name).is_absolute();
    let pattern = match is_absolute {
        true => name.to_owned(),
        false => format!("{}/{name}", Pattern::escape(&root.to_string_lossy())),
    };
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let found = glob_with(&pattern, options)
        .map_err(|error| JobError::new(key, &format!("expected a pattern, found {name:?}: {error}")))?;
    let before = files.len();
    for path in found {
        environment.cancellation.is_cancelled().then_some(DataError::Cancelled).map_or(Ok(()), Err)?;
        let path = path.map_err(|error| DataError::File {
            file: name.to_owned(),
            problem: FileProblem::Io(error.into()),
        })?;
        let relative = if is_absolute { Some(path.as_path()) } else { path.strip_prefix(&root).ok() };
        let text = relative.and_then(Path::to_str);
        // What is no file, or a link that leads elsewhere, is not meant.
        files.extend(text.filter(|text| is_there(environment, text, key)).map(str::to_owned));
        if files.len() > MAX_FILES {
            return Ok(());
        }
    }
    files[before..].sort_unstable();
    if files.len() == before {
        let problem = FileProblem::NotFound { folder: root };
        return Err(DataError::File { file: name.to_owned(), problem });
    }
    Ok(())
}

/// The names that a name with braces stands for: `{8..11}` and `{008..011}` are numbers, the latter of three digits;
/// `{a,b}` are words. Other braces are those of the name.
fn braces(name: &str) -> Result<Vec<String>, String> {
    let Some((start, end, words)) = first_braces(name)? else { return Ok(vec![name.to_owned()]) };
    let rest = braces(&name[end..])?;
    if words.len().saturating_mul(rest.len()) > MAX_FILES {
        return Err(format!("expected at most {MAX_FILES} files, found more in {name:?}"));
    }
    let before = &name[..start];
    let names = words.iter().flat_map(|word| rest.iter().map(move |rest| format!("{before}{word}{rest}")));
    Ok(names.collect())
}

/// The first braces that stand for something: where they begin and end, and for what.
fn first_braces(name: &str) -> Result<Option<(usize, usize, Vec<String>)>, String> {
    let mut from = 0;
    while let Some(start) = name[from..].find('{').map(|start| from + start) {
        let Some(length) = name[start..].find('}') else { return Ok(None) };
        let (inner, end) = (&name[start + 1..start + length], start + length + 1);
        if let Some((first, last)) = inner.split_once("..")
            && let (Ok(low), Ok(high)) = (first.parse::<u64>(), last.parse::<u64>())
        {
            if low > high || high - low >= MAX_FILES as u64 {
                return Err(format!(
                    "expected a rising range of at most {MAX_FILES} numbers, found {inner:?}"
                ));
            }
            let width = if first.starts_with('0') { first.len() } else { 1 };
            let numbers = (low..=high).map(|number| format!("{number:0width$}"));
            return Ok(Some((start, end, numbers.collect())));
        }
        if inner.contains(',') {
            return Ok(Some((start, end, inner.split(',').map(str::to_owned).collect())));
        }
        from = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
