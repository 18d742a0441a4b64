//! The oracle of the tests: botocore, in the virtual environment that the generator also uses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postern_wire::BOTOCORE_VERSION;

/// Runs one of the oracle's scripts with botocore at hand and answers what it prints.
pub fn oracle(script: &str, arguments: &[&str], input: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(script);
    let mut child = Command::new(python())
        .arg(path)
        .args(arguments)
        .env_remove("PYTHONPATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{script} ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The environment's Python; makes the environment if it is not there, one test process at a time.
fn python() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let venv = tools.join("botocore-venv");
    std::fs::create_dir_all(&tools).unwrap();
    let lock = File::create(tools.join("botocore-venv.lock")).unwrap();
    lock.lock().unwrap();
    let python = venv.join("bin/python");
    if !is_installed(&python) {
        run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let pinned = format!("botocore=={BOTOCORE_VERSION}");
        run(Command::new(&python).args(["-m", "pip", "--quiet", "install", &pinned]));
    }
    python
}

fn is_installed(python: &Path) -> bool {
    let program = "import botocore; print(botocore.__version__)";
    let output = Command::new(python).args(["-c", program]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == BOTOCORE_VERSION)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
}
