//! What a command changed.

use serde::{Deserialize, Serialize};

use crate::id::ResourceId;

/// One change, in the order in which it happened. The first `Created` is the resource that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A resource came to be.
    Created(ResourceId),
    /// A resource is no longer what it was.
    Changed(ResourceId),
    /// A resource is gone.
    Deleted(ResourceId),
    /// An account, one of its identities, or a topic, changed. These have names rather than resource ids.
    IdentityChanged,
}
