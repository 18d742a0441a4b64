//! Postern's own pages: health, metrics, reset.

use std::sync::{Arc, OnceLock, Weak};

use postern_frontdoor::pages::{Health, Pages, Resetting};
use serde_json::json;

use super::Region;

/// The pages of a region, which shows itself once it is ready.
#[derive(Default)]
pub struct RegionPages(OnceLock<Weak<Region>>);

impl RegionPages {
    /// From now on the pages are this region's.
    pub fn show(&self, region: &Arc<Region>) {
        // A region shows itself once.
        let _ = self.0.set(Arc::downgrade(region));
    }

    fn region(&self) -> Option<Arc<Region>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

impl Pages for RegionPages {
    fn health(&self) -> Health {
        let Some(region) = self.region() else {
            return Health { ready: false, details: json!({ "status": "starting" }) };
        };
        let ailments = region.ailments.list();
        let ready = ailments.is_empty();
        let details = json!({
            "status": if ready { "ready" } else { "ailing" },
            "ailments": ailments,
            "version": env!("CARGO_PKG_VERSION"),
            "region": region.options.region.name,
            "packets": { "move": region.packets.is_ok(), "how": region.packets_in_words() },
        });
        Health { ready, details }
    }

    fn reset<'a>(&'a self) -> Resetting<'a> {
        Box::pin(async move {
            match self.region() {
                Some(region) => region.reset().await.map_err(|error| format!("{error:#}")),
                None => Err("the region is still starting".to_owned()),
            }
        })
    }

    fn metrics(&self) -> String {
        self.region().map(|region| super::metrics::render(&region)).unwrap_or_default()
    }
}
