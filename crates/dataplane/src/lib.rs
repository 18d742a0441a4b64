//! The data plane: instances and packet ports on the host's kernel ([`host`]), and what moves packets between them: the
//! forwarder ([`forward`]), and beside it the program in the kernel ([`kernel`]).

pub mod forward;
pub mod host;
pub mod kernel;
