//! The `aws` command and boto3, and a server that stands in for services of AWS's (moto), in virtual environments on the
//! host's `/usr/bin/python3`.
//!
//! INVARIANT: the wrappers name every file absolutely and take nothing from the environment, so they run in a
//! sandbox that sees only `/usr` and the tools folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{debian, fetching, print_tool, probe, quote, write_script};
use crate::process::Job;

/// Every package, pinned. `awscli` carries the botocore that it needs; boto3 brings its own.
const REQUIREMENTS: &str = "\
awscli==1.46.3
boto3==1.44.5
botocore==1.44.5
colorama==0.4.6
docutils==0.19
jmespath==1.1.0
pyasn1==0.6.5
python-dateutil==2.9.0.post0
PyYAML==6.0.3
rsa==4.7.2
s3transfer==0.19.3
six==1.17.0
urllib3==2.8.0
";

/// What stands in for services that Postern does not serve, with what it needs for CloudWatch Logs, Kinesis and S3.
const MOTO_REQUIREMENTS: &str = "\
blinker==1.9.0
boto3==1.44.5
botocore==1.44.5
certifi==2026.10.18
cffi==2.1.1
charset-normalizer==3.5.2
click==8.5.1
cryptography==50.0.2
flask==3.1.3
flask-cors==6.0.5
idna==3.20
itsdangerous==2.2.0
jinja2==3.1.6
jmespath==1.1.0
markupsafe==3.0.4
moto==5.2.5
pycparser==3.12
python-dateutil==2.9.0.post0
PyYAML==6.0.3
requests==2.34.2
responses==0.26.3
s3transfer==0.19.3
six==1.17.0
urllib3==2.8.0
werkzeug==3.1.9
xmltodict==1.0.4
";

const PYTHON: &str = "/usr/bin/python3";
const WHEELS: &str = "usr/share/python-wheels";

/// Installs `aws` and boto3, unless the pinned versions are there. Returns their environment.
pub fn install(tools: &Path) -> anyhow::Result<PathBuf> {
    let environment = tools.join("aws");
    if is_installed(&environment, REQUIREMENTS)? {
        report(tools)?;
        return Ok(environment);
    }
    fill(tools, &environment, "aws and boto3", REQUIREMENTS)?;
    write_wrapper(tools, "python3", "aws", "")?;
    write_wrapper(tools, "aws", "aws", path_text(&environment.join("bin/aws"))?)?;
    report(tools)?;
    fs::write(environment.join(STAMP), stamp_text(REQUIREMENTS)?)?;
    Ok(environment)
}

/// Installs moto, unless the pinned version is there.
pub fn install_moto(tools: &Path) -> anyhow::Result<()> {
    let environment = tools.join("moto");
    let program = tools.join("bin/moto_server");
    let report = || -> anyhow::Result<()> {
        print_tool("moto_server", &probe(tools, &program, &["--help"], "usage: moto_server")?, &program);
        Ok(())
    };
    if is_installed(&environment, MOTO_REQUIREMENTS)? {
        return report();
    }
    fill(tools, &environment, "moto", MOTO_REQUIREMENTS)?;
    write_wrapper(tools, "moto_server", "moto", path_text(&environment.join("bin/moto_server"))?)?;
    report()?;
    fs::write(environment.join(STAMP), stamp_text(MOTO_REQUIREMENTS)?)?;
    Ok(())
}

/// Where an environment says what it was made from.
const STAMP: &str = "installed";

fn is_installed(environment: &Path, requirements: &str) -> anyhow::Result<bool> {
    let wanted = stamp_text(requirements)?;
    Ok(fs::read_to_string(environment.join(STAMP)).is_ok_and(|installed| installed == wanted))
}

/// Makes an environment of these packages.
fn fill(tools: &Path, environment: &Path, what: &str, requirements: &str) -> anyhow::Result<()> {
    if environment.exists() {
        fs::remove_dir_all(environment)
            .with_context(|| format!("`{}` cannot be replaced", environment.display()))?;
    }
    // Without pip: that is what needs Debian's python3-venv, which fresh machines lack.
    let mut create = fetching(PYTHON);
    create.args(["-m", "venv", "--without-pip"]).arg(environment);
    Job::new("virtual environment", create).require().context("package `python3` lacks its `venv` module")?;

    let list = environment.join("requirements.txt");
    fs::write(&list, requirements)?;
    let mut install = fetching(path_text(&environment.join("bin/python3"))?);
    install.arg(pip_wheel(tools)?.join("pip"));
    install.args(["install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    install.args(["--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--requirement"]);
    install.arg(&list);
    Job::new(format!("installing {what} from PyPI"), install).timeout(Duration::from_secs(900)).require()?;
    Ok(())
}

/// What an up-to-date environment was made from: the pins, and the interpreter, whose minor version is part of
/// the environment's layout.
fn stamp_text(requirements: &str) -> anyhow::Result<String> {
    let mut version = fetching(PYTHON);
    version.arg("--version");
    let version = Job::new(PYTHON, version).require().context("package `python3` is needed")?;
    Ok(format!("{}\n{requirements}", version.trim()))
}

/// Runs both and prints a line for each.
fn report(tools: &Path) -> anyhow::Result<()> {
    let aws = tools.join("bin/aws");
    print_tool("aws", &probe(tools, &aws, &["--version"], "aws-cli/")?, &aws);
    let python = tools.join("bin/python3");
    let version =
        probe(tools, &python, &["-c", "import boto3; print('boto3', boto3.__version__)"], "boto3 ")?;
    print_tool("python3", &version, &python);
    Ok(())
}

/// A wrapper that starts the environment's interpreter in isolated mode, with a script if one is given.
fn write_wrapper(tools: &Path, name: &str, environment: &str, script: &str) -> anyhow::Result<()> {
    let python = tools.join(environment).join("bin/python3");
    let python = quote(path_text(&python)?);
    let script = if script.is_empty() { String::new() } else { format!(" -I {}", quote(script)) };
    let text = format!("#!/bin/sh\nexec {python}{script} \"$@\"\n");
    write_script(&tools.join("bin").join(name), &text)
}

/// A wheel of pip's, which Python can run as it is: the host's, or one from Debian's package of it.
fn pip_wheel(tools: &Path) -> anyhow::Result<PathBuf> {
    if let Some(wheel) = find_wheel(&Path::new("/").join(WHEELS)) {
        return Ok(wheel);
    }
    debian::unpack(tools, &["python3-pip-whl"])?;
    match find_wheel(&tools.join("root").join(WHEELS)) {
        Some(wheel) => Ok(wheel),
        None => bail!("package `python3-pip-whl` holds no wheel of pip in `/{WHEELS}`"),
    }
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let mut wheels: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("pip-") && name.ends_with(".whl")
        })
        .collect();
    wheels.sort();
    wheels.pop()
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not a name in UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned() {
        for line in REQUIREMENTS.lines().chain(MOTO_REQUIREMENTS.lines()) {
            let (name, version) = line.split_once("==").unwrap();
            assert!(!name.is_empty() && version.starts_with(|first: char| first.is_ascii_digit()), "{line}");
        }
    }

    #[test]
    fn the_newest_wheel_of_pip_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find_wheel(folder.path()), None);
        for name in ["pip-23.0.1-py3-none-any.whl", "setuptools-66.1.1-py3-none-any.whl", "pip-notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = find_wheel(folder.path()).unwrap();
        assert_eq!(found.file_name().unwrap(), "pip-23.0.1-py3-none-any.whl");
    }
}
