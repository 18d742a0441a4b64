//! Services that come and go while the door stands open, and those that nobody serves.

use std::sync::Arc;

use crate::body::HttpService;
use crate::dialect::Dialect;
use crate::host::HostNames;

/// What there is besides the services that the door was made with. Asked for each request that is for none of those, so
/// what it answers follows the region.
pub trait OtherServices: Send + Sync {
    /// Each one's host names, by the name that requests for it are routed by.
    fn hosts(&self) -> Arc<Vec<(String, HostNames)>>;

    /// Who serves the one of this name, if anybody does. It authenticates, asks for its permits and records its calls.
    fn service(&self, name: &str) -> Option<Arc<dyn HttpService>>;

    /// How the clients of the one of this name read errors, if it is known.
    fn dialect(&self, name: &str) -> Option<Dialect>;
}

/// None.
pub struct NoOthers;

impl OtherServices for NoOthers {
    fn hosts(&self) -> Arc<Vec<(String, HostNames)>> {
        Arc::default()
    }

    fn service(&self, _: &str) -> Option<Arc<dyn HttpService>> {
        None
    }

    fn dialect(&self, _: &str) -> Option<Dialect> {
        None
    }
}
