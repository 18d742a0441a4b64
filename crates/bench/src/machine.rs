//! What a figure depends on beside the code: the machine's shape, and which code it was.

use std::process::Command;

use serde::Serialize;

/// The shape of the machine and the date of the code.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processors' name.
    pub processor: String,
    /// How many there are.
    pub processors: usize,
    /// Memory in gibibytes.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The last commit's date and subject.
    pub code: String,
    /// Whether there were changes that are not in it.
    pub changed: bool,
    /// How busy the machine was before, over one minute.
    pub load_before: f64,
}

impl Machine {
    /// Looks at this one.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let name = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
        let memory = read("/proc/meminfo");
        let kibibytes = memory.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
        let load = read("/proc/loadavg");
        Self {
            processor: name.unwrap_or("unknown").to_owned(),
            processors: cpu.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kibibytes.unwrap_or(f64::NAN) / f64::from(1 << 20),
            kernel: release(&read("/proc/sys/kernel/osrelease")),
            code: git(&["log", "-1", "--format=%cs “%s”"]),
            changed: !git(&["status", "--porcelain", "--untracked-files=normal", "--", "crates"]).is_empty(),
            load_before: load
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }

    /// In words, without the machine's name.
    pub fn in_words(&self) -> String {
        let changed = if self.changed { ", with changes that are not committed" } else { "" };
        format!(
            "{} × {}, {:.0} GiB, Linux {}; load before the run {:.1}. Code: {}{changed}.",
            self.processors, self.processor, self.memory_gib, self.kernel, self.load_before, self.code
        )
    }
}

/// The numbers of a kernel's release; what a distributor or a host adds to them is left out.
fn release(text: &str) -> String {
    text.trim().split('-').next().unwrap_or_default().to_owned()
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
