//! The oracle of the tests: botocore, in the virtual environment that the generator also uses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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

/// The Python of the client programs, as `cargo xtask install` makes it.
fn python() -> PathBuf {
    let told = std::env::var_os("POSTERN_TOOLS").map(PathBuf::from);
    let tools = told.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"));
    let python = tools.join("bin/python3");
    let missing = "run `cargo xtask install`";
    assert!(is_oracle(&python), "`{}` has no botocore {BOTOCORE_VERSION}: {missing}", python.display());
    python
}

fn is_oracle(python: &Path) -> bool {
    let program = "import botocore; print(botocore.__version__)";
    let output = Command::new(python).args(["-c", program]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == BOTOCORE_VERSION)
}
