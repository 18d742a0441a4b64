//! XML in both directions: the documents that services answer with, and a client's view of them.

mod read;
mod response;
mod write;

pub use read::{Element, XmlError, parse};
pub use response::{ReadError, read_response, response};
pub use write::{Writer, is_allowed};
