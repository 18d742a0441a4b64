//! The data plane: instances and packet ports on the host's kernel ([`host`]), and what moves packets between them.

pub mod forward;
pub mod host;
