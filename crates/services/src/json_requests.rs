//! The requests of a service that speaks AWS JSON, where all operations that are served stand in one list.

/// Makes a type for each operation's request, and `Request` for any of them. A member that is not among the fields refuses
/// the request; `document`, of the module that says this, reads a body and words the refusal.
macro_rules! requests {
    ($($name:ident { $($(#[$serde:meta])* $field:ident: $type:ty),* })*) => {
        $(
            #[derive(Debug, Clone, PartialEq, Deserialize)]
            #[serde(rename_all = "PascalCase", deny_unknown_fields)]
            pub(super) struct $name { $($(#[$serde])* pub(super) $field: $type),* }
        )*

        /// A request of any operation.
        #[derive(Debug, Clone, PartialEq)]
        pub(super) enum Request { $($name($name)),* }

        impl Request {
            /// Every operation that is served.
            pub(super) const OPERATIONS: &[&str] = &[$(stringify!($name)),*];

            pub(super) fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            /// Reads the request of an operation that is served.
            pub(super) fn read(operation: &str, body: &[u8]) -> Result<Self, JsonError> {
                match operation {
                    $(stringify!($name) => document(body).map(Self::$name),)*
                    _ => Err(JsonError::common("UnknownOperationException", "")),
                }
            }
        }
    };
}

pub(crate) use requests;
