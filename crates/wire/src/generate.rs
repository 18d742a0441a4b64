//! The macros that the generated rows expand through: one row is a struct's field and its table's entry at once, so
//! the two cannot disagree.

/// The values of an enumeration.
macro_rules! values {
    ($name:ident: $($value:literal)+) => {
        const $name: &[&str] = &[$($value),+];
    };
}

/// A struct and its table. A row is `field: type = "AwsName" "QueryName" "xmlName", KIND[, required][, token];`.
macro_rules! structure {
    ($name:ident { $(
        $field:ident: $type:ty = $aws:literal $query:literal $xml:literal, $kind:expr $(, $flag:ident)*;
    )* }) => {
        #[doc = concat!("AWS's shape `", stringify!($name), "`.")]
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $(
                #[doc = concat!("AWS's member `", $aws, "`.")]
                pub $field: $type,
            )*
        }

        impl $crate::value::Structure for $name {
            const SHAPE: &'static $crate::shape::StructureShape = &$crate::shape::StructureShape {
                name: stringify!($name),
                members: &[$($crate::shape::Member::new($aws, $query, $xml, $kind)$(.$flag())*),*],
            };

            #[allow(clippy::allow_attributes, unused_mut, unused_variables, reason = "a structure can be empty")]
            fn from_fields(fields: $crate::value::Fields) -> Self {
                let mut fields = $crate::value::Reader::new(fields);
                Self { $($field: fields.next()),* }
            }

            fn into_fields(self) -> $crate::value::Fields {
                vec![$($crate::value::Field::into_member(self.$field)),*]
            }

            fn set_members(&self) -> Vec<&'static str> {
                let given: &[bool] = &[$($crate::value::Field::is_given(&self.$field)),*];
                $crate::value::names_given(Self::SHAPE, given)
            }
        }

        impl $crate::value::Item for $name {
            fn from_value(value: $crate::value::Value) -> Self {
                $crate::value::structure_from_value(value)
            }

            fn into_value(self) -> $crate::value::Value {
                $crate::value::Value::Structure($crate::value::Structure::into_fields(self))
            }
        }
    };
}

/// A service: its table, one type per operation, and the enumeration of all requests.
macro_rules! operations {
    ($service:literal $version:literal $namespace:literal $protocol:ident;
     $($operation:ident($request:ident) => $response:ty;)+) => {
        /// The service.
        pub static SERVICE: $crate::shape::Service = $crate::shape::Service {
            name: $service,
            api_version: $version,
            xml_namespace: $namespace,
            protocol: $crate::shape::Protocol::$protocol,
            operations: OPERATIONS,
        };

        /// Every operation served.
        pub const OPERATIONS: &[$crate::shape::OperationInfo] = &[$(
            $crate::shape::OperationInfo::new(
                stringify!($operation),
                <$request as $crate::value::Structure>::SHAPE,
                <$response as $crate::value::Structure>::SHAPE,
            ),
        )+];

        /// One type per operation, naming what goes in and out.
        pub mod op {
            $(
                #[doc = concat!("The operation `", stringify!($operation), "`.")]
                #[derive(Clone, Copy, Debug)]
                pub struct $operation;

                impl $crate::operation::Operation for $operation {
                    const NAME: &'static str = stringify!($operation);
                    type Request = super::$request;
                    type Response = super::responses::$operation;

                    fn service() -> &'static $crate::shape::Service {
                        &super::SERVICE
                    }
                }
            )+
        }

        /// The response of each operation, by the operation's name.
        mod responses {
            use super::*;

            $(pub type $operation = $response;)+
        }

        /// A decoded request of any operation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $(
                #[doc = concat!("A request of `", stringify!($operation), "`.")]
                $operation(Box<$request>),
            )+
        }

        impl Request {
            /// Decodes the request of the operation that `form` names.
            ///
            /// # Errors
            /// When the operation is not served, or a parameter is unknown, missing or malformed.
            pub fn decode(form: &$crate::query::Form) -> Result<Self, $crate::query::DecodeError> {
                let (operation, fields) = $crate::query::decode_fields(&SERVICE, form)?;
                match operation.name {
                    $(stringify!($operation) => {
                        let request = <$request as $crate::value::Structure>::from_fields(fields);
                        Ok(Self::$operation(Box::new(request)))
                    })+
                    other => unreachable!("`{other}` is in the table and not in the enumeration"),
                }
            }

            /// The operation's name.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$operation(_) => stringify!($operation),)+
                }
            }

            /// The form that asks for this; lists that are empty are left out.
            pub fn encode(self) -> $crate::query::Form {
                match self {
                    $(Self::$operation(request) => {
                        $crate::query::encode_request::<op::$operation>(*request)
                    })+
                }
            }

            /// The wire names of the parameters that were given.
            pub fn set_members(&self) -> Vec<&'static str> {
                match self {
                    $(Self::$operation(request) => $crate::value::Structure::set_members(&**request),)+
                }
            }
        }
    };
}

/// What every generated file uses.
pub(crate) mod prelude {
    pub(crate) use super::{operations, structure, values};
    pub(crate) use crate::sensitive::{Blob, Sensitive};
    pub(crate) use crate::shape::{
        BLOB, BOOLEAN, DOUBLE, INTEGER, Kind, LONG, List, Range, TEXT, TIMESTAMP, Text,
    };
    pub(crate) use crate::timestamp::Timestamp;
    pub(crate) use crate::value::Structure;
}

pub(crate) use {operations, structure, values};
