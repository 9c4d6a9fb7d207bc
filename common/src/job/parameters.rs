//! Parameters of models and data sets. Their meaning is not known here, only their form, which is the same in a job
//! file and on the wire.
//!
//! Protobuf's `Struct` has doubles but no integers. A whole number that a double holds exactly is therefore kept as an
//! integer, and a number that a double cannot hold is refused, so that a worker gets exactly what the user wrote.

use serde_json::{Number, Value};

use super::{JobError, Parameters};

/// Most levels of nesting.
const MAX_DEPTH: usize = 16;
/// Most values of a section, tables counted with [`TABLE`]: it bounds the memory that a job waits in.
const MAX_VALUES: usize = 20_000;
/// Values that take as much memory as a table, which has room for several keys.
const TABLE: usize = 10;
/// Every whole number up to this size is exactly representable as a double.
const EXACT: u64 = 1 << 53;
/// The TOML parser represents a date as a table with this key.
const DATE: &str = "$__toml_private_datetime";

/// Brings parameters of a job file or of a message into their common form. `section` names their section in errors.
///
/// # Errors
/// If a number is not finite or not exactly representable as a double, a date is not quoted, values are nested too
/// deeply, or there are too many. The error names the key by its path.
pub fn normalise_parameters(section: &str, parameters: &mut Parameters) -> Result<(), JobError> {
    let values = values_of(parameters, MAX_DEPTH);
    if values > MAX_VALUES {
        let problem = format!(
            "expected at most {MAX_VALUES} values, a table counted as {TABLE}, found {values}; long lists belong into files"
        );
        return Err(JobError::new(section, &problem));
    }
    object(section, parameters, MAX_DEPTH)
}

/// Number of values, a table counted as [`TABLE`]. What is nested too deeply, which is refused afterwards, is not counted.
fn values_of(fields: &Parameters, depth: usize) -> usize {
    fn values(value: &Value, depth: usize) -> usize {
        match value {
            _ if depth == 0 => 0,
            Value::Array(items) => 1 + items.iter().map(|item| values(item, depth - 1)).sum::<usize>(),
            Value::Object(fields) => TABLE + values_of(fields, depth - 1),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        }
    }
    fields.values().map(|value| values(value, depth)).sum()
}

fn object(path: &str, fields: &mut Parameters, depth: usize) -> Result<(), JobError> {
    fields.iter_mut().try_for_each(|(key, value)| normal(&format!("{path}.{key}"), value, depth))
}

fn normal(path: &str, value: &mut Value, depth: usize) -> Result<(), JobError> {
    if depth == 0 {
        return Err(too_deep(path));
    }
    match value {
        // TOML has no null: this was NaN or an infinity, which JSON does not have.
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

/// Turns whole numbers back into integers, as in the job file.
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
