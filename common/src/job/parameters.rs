//! Parameters of models and data sets: opaque but for their form, which is the same in a job file and on the wire.
//!
//! Protobuf's Struct knows no integers, only doubles. A number is therefore kept as an integer where it is a whole one
//! that a double holds exactly, and what a double cannot hold is refused: nothing changes on the way to a worker.

use serde_json::{Number, Value};

use super::{JobError, Parameters};

/// Deepest nesting.
const MAX_DEPTH: usize = 16;
/// Up to here every whole number is a double.
const EXACT: u64 = 1 << 53;
/// What the reader of TOML makes of a date: a table with this key.
const DATE: &str = "$__toml_private_datetime";

/// Brings parameters, of a job file or from the wire, into their one form; `section` is where they stand, for errors.
///
/// # Errors
/// When a number is not finite or no double holds it exactly, a date stands without quotes, or values are nested too
/// deep; the error names the key by its path.
pub fn normalise_parameters(section: &str, parameters: &mut Parameters) -> Result<(), JobError> {
    object(section, parameters, MAX_DEPTH)
}

fn object(path: &str, fields: &mut Parameters, depth: usize) -> Result<(), JobError> {
    fields.iter_mut().try_for_each(|(key, value)| normal(&format!("{path}.{key}"), value, depth))
}

fn normal(path: &str, value: &mut Value, depth: usize) -> Result<(), JobError> {
    if depth == 0 {
        return Err(too_deep(path));
    }
    match value {
        // TOML has no null: this was a number that JSON does not have.
        Value::Null => return Err(JobError::new(path, "expected a finite number")),
        Value::Number(number) => *number = normal_number(path, number)?,
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                normal(&format!("{path}[{index}]"), item, depth - 1)?;
            }
        }
        Value::Object(fields) if fields.contains_key(DATE) => {
            return Err(JobError::new(path, "expected a string, found a date without quotes"));
        }
        Value::Object(fields) => object(path, fields, depth - 1)?,
        Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
}

fn normal_number(path: &str, number: &Number) -> Result<Number, JobError> {
    let whole = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
    match (whole, number.as_f64()) {
        (Some(size), _) if size > EXACT => {
            let expected = format!("expected a whole number from -{EXACT} to {EXACT}, found {number}");
            Err(JobError::new(path, &expected))
        }
        (Some(_), _) => Ok(number.clone()),
        (None, Some(double)) => number_from(path, double),
        (None, None) => {
            Err(JobError::new(path, &format!("expected a number that a double holds, found {number}")))
        }
    }
}

/// Whole numbers become integers again, as they stood in the job file.
fn number_from(path: &str, number: f64) -> Result<Number, JobError> {
    if number.fract() == 0.0 && number.abs() <= EXACT as f64 {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number)
        .ok_or_else(|| JobError::new(path, &format!("expected a finite number, found {number}")))
}

fn too_deep(path: &str) -> JobError {
    JobError::new(path, &format!("is nested deeper than {MAX_DEPTH} levels"))
}
