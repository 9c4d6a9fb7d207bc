//! The key `alpha`, which takes a number or a word.

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `alpha = 0.5` or `alpha = "adaptive"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlphaValue {
    /// The same factor for all tensors.
    Static(f64),
    /// A factor for each tensor, computed in each outer step.
    Adaptive,
}

impl Serialize for AlphaValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AlphaValue::Static(alpha) => serializer.serialize_f64(*alpha),
            AlphaValue::Adaptive => serializer.serialize_str("adaptive"),
        }
    }
}

impl<'de> Deserialize<'de> for AlphaValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrWord;
        impl Visitor<'_> for NumberOrWord {
            type Value = AlphaValue;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number or \"adaptive\"")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<AlphaValue, E> {
                Ok(AlphaValue::Static(value))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<AlphaValue, E> {
                Ok(AlphaValue::Static(value as f64))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<AlphaValue, E> {
                if value == "adaptive" {
                    Ok(AlphaValue::Adaptive)
                } else {
                    Err(E::invalid_value(Unexpected::Str(value), &self))
                }
            }
        }
        deserializer.deserialize_any(NumberOrWord)
    }
}
