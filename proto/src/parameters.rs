//! Conversions between parameters of models and data sets and protobuf's `Struct`.

use lookbehind_common::job::{JobError, Parameters, normalise_parameters};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::{Number, Value};

pub(crate) fn to_struct(parameters: &Parameters) -> Struct {
    Struct { fields: parameters.iter().map(|(key, value)| (key.clone(), to_value(value))).collect() }
}

fn to_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(double(number)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(to_value).collect() }),
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    ProtoValue { kind: Some(kind) }
}

#[expect(
    clippy::expect_used,
    reason = "serde_json keeps numbers as u64, i64 or f64; each converts to a double"
)]
fn double(number: &Number) -> f64 {
    number.as_f64().expect("a number of JSON is a double")
}

/// The parameters of a message, in the same form as those of a job file. `section` names their section in errors.
/// Absent means none.
pub(crate) fn from_struct(section: &str, fields: Option<&Struct>) -> Result<Parameters, JobError> {
    let Some(fields) = fields else { return Ok(Parameters::new()) };
    let mut parameters = from_fields(section, fields)?;
    normalise_parameters(section, &mut parameters)?;
    Ok(parameters)
}

fn from_fields(path: &str, fields: &Struct) -> Result<Parameters, JobError> {
    let field = |(key, value): (&String, &ProtoValue)| {
        Ok((key.clone(), from_value(&format!("{path}.{key}"), value)?))
    };
    fields.fields.iter().map(field).collect()
}

fn from_value(path: &str, value: &ProtoValue) -> Result<Value, JobError> {
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => return Err(JobError::new(path, "expected a value, found null")),
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(number)) => {
            let finite = Number::from_f64(*number).map(Value::Number);
            finite.ok_or_else(|| JobError::new(path, &format!("expected a finite number, found {number}")))?
        }
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => {
            let item = |(index, item): (usize, &ProtoValue)| from_value(&format!("{path}[{index}]"), item);
            Value::Array(list.values.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        Some(Kind::StructValue(fields)) => Value::Object(from_fields(path, fields)?),
    })
}
