//! The keys of `[data]`, for errors that list all of them: those of every data set, those of images, those of the kind.

use lookbehind_common::job::{JobError, Parameters, parse_parameters};
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::{options, selection};

/// Keys that are read before the kind of data is known.
const OF_JOBS: [&str; 3] = ["kind", "shuffle", "drop_last"];

/// Reads the keys of a kind; `also` are those that were separated from them before.
///
/// # Errors
/// When a key is unknown, and the error lists all that `[data]` takes, or a value is wrong.
pub(crate) fn parse<T: DeserializeOwned>(parameters: &Parameters, also: &[&str]) -> Result<T, JobError> {
    parse_without(parameters, also, &[])
}

/// As [`parse`], of keys of which some are not this kind's: `hidden`, which the caller has refused.
pub(crate) fn parse_without<T: DeserializeOwned>(
    parameters: &Parameters,
    also: &[&str],
    hidden: &[&str],
) -> Result<T, JobError> {
    let own = fields::<T>();
    match parameters.keys().find(|key| !own.contains(&key.as_str())) {
        None => parse_parameters("data", parameters),
        Some(key) => {
            let shown = own.iter().filter(|key| !hidden.contains(key));
            let all = OF_JOBS.iter().chain(shown).chain(also).chain(&options::KEYS).chain(&selection::KEYS);
            let all: Vec<String> = all.map(|key| format!("`{key}`")).collect();
            let problem = format!("unknown field `{key}`, expected one of {}", all.join(", "));
            Err(JobError::new(&format!("data.{key}"), &problem))
        }
    }
}

/// Names of the fields that a struct is read from.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // The reading itself ends with an error: there is nothing to read.
    let _unread = T::deserialize(Names(&mut names));
    names
}

/// Has no values, and keeps the names of the fields that it is asked for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
