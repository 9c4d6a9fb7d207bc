//! Attributes of operations.

use super::messages::AttributeProto;

/// Kinds of attributes in the format.
const FLOAT: i32 = 1;
const INT: i32 = 2;
const INTS: i32 = 7;

/// An attribute of an operation: its name and its value.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// A number.
    Float(&'a str, f32),
    /// A whole number.
    Int(&'a str, i64),
    /// A list of whole numbers.
    Ints(&'a str, &'a [i64]),
}

impl Attribute<'_> {
    pub(super) fn message(&self) -> AttributeProto {
        let of =
            |name: &str, kind| AttributeProto { name: name.to_owned(), kind, ..AttributeProto::default() };
        match *self {
            Self::Float(name, value) => AttributeProto { f: Some(value), ..of(name, FLOAT) },
            Self::Int(name, value) => AttributeProto { i: Some(value), ..of(name, INT) },
            Self::Ints(name, values) => AttributeProto { ints: values.to_vec(), ..of(name, INTS) },
        }
    }
}
