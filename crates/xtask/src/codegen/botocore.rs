//! Reads the service models of the botocore that is installed with the client programs.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flate2::read::GzDecoder;

use super::served::Served;
use crate::install;
use crate::workspace::Workspace;

/// The botocore whose models are generated from, and which the tests take as oracle.
pub const VERSION: &str = "1.44.5";

/// Bytes that a decompressed model may have; EC2's, the largest, has some 10 MiB.
const MODEL_BYTES_MAX: u64 = 64 << 20;

/// Installs the client programs' Python packages if they are not there, and answers botocore's data folder.
pub fn install(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let environment = install::python(workspace)?;
    let libraries = environment.join("lib");
    let found = std::fs::read_dir(&libraries).with_context(|| format!("read `{}`", libraries.display()))?;
    for library in found {
        let packages = library?.path().join("site-packages");
        if packages.join(format!("botocore-{VERSION}.dist-info")).is_dir() {
            return Ok(packages.join("botocore/data"));
        }
    }
    bail!("botocore {VERSION} is not in `{}`", environment.display())
}

/// Reads one service's model.
pub fn load(data: &Path, served: &Served) -> anyhow::Result<serde_json::Value> {
    read(&data.join(served.name).join(served.api_version).join("service-2.json.gz"))
}

/// Reads the newest model of a folder, if it is one of a service.
pub fn newest(data: &Path, name: &str) -> anyhow::Result<Option<serde_json::Value>> {
    let folder = data.join(name);
    let mut models = Vec::new();
    for version in std::fs::read_dir(&folder).with_context(|| format!("read `{}`", folder.display()))? {
        let model = version?.path().join("service-2.json.gz");
        if model.is_file() {
            models.push(model);
        }
    }
    // They are called by their dates.
    models.sort();
    models.pop().map(|path| read(&path)).transpose()
}

fn read(path: &Path) -> anyhow::Result<serde_json::Value> {
    let file = std::fs::File::open(path).with_context(|| format!("open `{}`", path.display()))?;
    let mut text = String::new();
    GzDecoder::new(file)
        .take(MODEL_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("decompress `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse `{}`", path.display()))
}
