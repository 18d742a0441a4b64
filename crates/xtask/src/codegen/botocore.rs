//! Fetches the pinned botocore into `target/tools/botocore-venv` and reads its service models.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use flate2::read::GzDecoder;

use super::served::Served;

/// The botocore whose models are generated from, and which the tests take as oracle.
pub const VERSION: &str = "1.44.5";

/// Bytes that a decompressed model may have; EC2's, the largest, has some 10 MiB.
const MODEL_BYTES_MAX: u64 = 64 << 20;

/// Makes the virtual environment if it is not there and answers botocore's data folder.
pub fn install(root: &Path) -> anyhow::Result<PathBuf> {
    let venv = root.join("target/tools/botocore-venv");
    if let Some(data) = data_folder(&venv)? {
        return Ok(data);
    }
    eprintln!("installing botocore {VERSION} into {}", venv.display());
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(venv.join("bin/python")).args([
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "install",
        &format!("botocore=={VERSION}"),
    ]))?;
    data_folder(&venv)?.with_context(|| format!("botocore {VERSION} is not in `{}`", venv.display()))
}

/// The data folder of the pinned version, if it is installed.
fn data_folder(venv: &Path) -> anyhow::Result<Option<PathBuf>> {
    let libraries = match std::fs::read_dir(venv.join("lib")) {
        Ok(libraries) => libraries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read `{}`", venv.display())),
    };
    for library in libraries {
        let packages = library?.path().join("site-packages");
        if packages.join(format!("botocore-{VERSION}.dist-info")).is_dir() {
            return Ok(Some(packages.join("botocore/data")));
        }
    }
    Ok(None)
}

/// Reads one service's model.
pub fn load(data: &Path, served: &Served) -> anyhow::Result<serde_json::Value> {
    let path = data.join(served.name).join(served.api_version).join("service-2.json.gz");
    let file = std::fs::File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
    let mut text = String::new();
    GzDecoder::new(file)
        .take(MODEL_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("decompress `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse `{}`", path.display()))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
