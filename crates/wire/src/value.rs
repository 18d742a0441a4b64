//! The neutral form between a struct and the wire: what every codec reads or makes.
//!
//! INVARIANT: a [`Value`] agrees with the [`Kind`](crate::shape::Kind) it was made for, and the fields of a structure
//! stand in the order of its shape. Only the codecs and the generated structs make values, each by the same table.

use std::vec::IntoIter;

use crate::sensitive::{Blob, Sensitive};
use crate::shape::StructureShape;
use crate::timestamp::Timestamp;

/// One value of any shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string or an enumeration's value.
    Text(String),
    /// A boolean.
    Boolean(bool),
    /// An integer or a long.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// A point in time.
    Timestamp(Timestamp),
    /// Bytes.
    Blob(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A structure's members, in the order of its shape.
    Structure(Fields),
}

/// A structure's members, in the order of its shape.
pub type Fields = Vec<Option<Value>>;

/// A generated struct.
pub trait Structure: Sized {
    /// Its table.
    const SHAPE: &'static StructureShape;

    /// From fields that were made by [`Self::SHAPE`].
    fn from_fields(fields: Fields) -> Self;

    /// To fields in the order of [`Self::SHAPE`].
    fn into_fields(self) -> Fields;

    /// The wire names of the members that were given, so that a service can refuse what it does not support.
    fn set_members(&self) -> Vec<&'static str>;
}

/// An operation's answer where AWS only acknowledges.
impl Structure for () {
    const SHAPE: &'static StructureShape = StructureShape::EMPTY;

    fn from_fields(_: Fields) -> Self {}

    fn into_fields(self) -> Fields {
        Vec::new()
    }

    fn set_members(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Anything that can be a list's item or a member that is there.
pub trait Item: Sized {
    /// From the value that the codec made by the table.
    fn from_value(value: Value) -> Self;

    /// To the value that the codec expects by the table.
    fn into_value(self) -> Value;
}

/// A field of a generated struct: something that may be absent.
pub trait Field: Sized {
    /// From a member that may be absent.
    fn from_member(value: Option<Value>) -> Self;

    /// To a member that may be absent.
    fn into_member(self) -> Option<Value>;

    /// Whether it was given.
    fn is_given(&self) -> bool;
}

impl<T: Item> Field for Option<T> {
    fn from_member(value: Option<Value>) -> Self {
        value.map(T::from_value)
    }

    fn into_member(self) -> Option<Value> {
        self.map(T::into_value)
    }

    fn is_given(&self) -> bool {
        self.is_some()
    }
}

impl<T: Item> Field for Vec<T> {
    fn from_member(value: Option<Value>) -> Self {
        value.map(Self::from_value).unwrap_or_default()
    }

    fn into_member(self) -> Option<Value> {
        Some(self.into_value())
    }

    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl<T: Item> Item for Vec<T> {
    fn from_value(value: Value) -> Self {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            other => disagrees("a list", &other),
        }
    }

    fn into_value(self) -> Value {
        Value::List(self.into_iter().map(T::into_value).collect())
    }
}

impl<T: Item> Item for Sensitive<T> {
    fn from_value(value: Value) -> Self {
        Self::new(T::from_value(value))
    }

    fn into_value(self) -> Value {
        self.into_exposed().into_value()
    }
}

/// Implements [`Item`] for a type that is one variant of [`Value`].
macro_rules! item {
    ($type:ty, $variant:ident, $expected:literal, $held:ident => $from:expr, $given:ident => $into:expr) => {
        impl Item for $type {
            fn from_value(value: Value) -> Self {
                match value {
                    Value::$variant($held) => $from,
                    other => disagrees($expected, &other),
                }
            }

            fn into_value(self) -> Value {
                let $given = self;
                Value::$variant($into)
            }
        }
    };
}

item!(String, Text, "a string", held => held, given => given);
item!(bool, Boolean, "a boolean", held => held, given => given);
item!(i64, Integer, "a number", held => held, given => given);
item!(f64, Double, "a number", held => held, given => given);
item!(Timestamp, Timestamp, "a date", held => held, given => given);
item!(Blob, Blob, "bytes", held => Blob(held), given => given.0);

/// The table and the struct disagree: a bug of the generator, since both are written from one row.
pub(crate) fn disagrees(expected: &str, found: &Value) -> ! {
    unreachable!("the shape says {expected}, the value is {found:?}")
}

/// Hands a structure's fields out one by one.
pub(crate) struct Reader(IntoIter<Option<Value>>);

impl Reader {
    pub(crate) fn new(fields: Fields) -> Self {
        Self(fields.into_iter())
    }

    pub(crate) fn next<F: Field>(&mut self) -> F {
        F::from_member(self.0.next().flatten())
    }
}

/// The wire names of the members for which `given` is true.
pub(crate) fn names_given(shape: &'static StructureShape, given: &[bool]) -> Vec<&'static str> {
    shape
        .members
        .iter()
        .zip(given)
        .filter(|(_, given)| **given)
        .map(|(member, _)| member.query_name)
        .collect()
}

/// A generated struct from a list's item or a member.
pub(crate) fn structure_from_value<S: Structure>(value: Value) -> S {
    match value {
        Value::Structure(fields) => S::from_fields(fields),
        other => disagrees("a structure", &other),
    }
}
