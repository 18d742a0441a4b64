//! Programs from Debian's packages, downloaded and unpacked below the tools folder.
//!
//! apt does its own work (sources, signatures, dependencies) with a state of its own, so neither root nor the
//! host's package lists are needed, and no package's scripts run: nothing starts a server.
//!
//! INVARIANT: the C library is always the host's; one beside it would not fit the host's loader.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use super::{fetching, quote, write_script};
use crate::process::Job;

/// Package lists older than this are fetched again.
const LISTS_KEPT: Duration = Duration::from_hours(24);
/// Never unpacked beside the host's own.
const HOST_ONLY: [&str; 8] =
    ["libc6", "libc-bin", "libc-l10n", "locales", "libgcc-s1", "gcc-12-base", "dpkg", "apt"];

/// Downloads packages, and those they need that the host lacks, and unpacks them into `root` of the tools folder.
pub fn unpack(tools: &Path, packages: &[&str]) -> anyhow::Result<()> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        bail!("apt-get is not here; install {} by your system's own means", packages.join(", "));
    }
    let apt = Apt::prepare(tools)?;
    let names = apt.resolve(packages)?;
    let folder = tools.join("debs");
    fs::create_dir_all(&folder)?;
    let title = format!("downloading {}", names.join(" "));
    let mut download = apt.command();
    download.arg("download").args(&names).current_dir(&folder);
    Job::new(title, download).timeout(Duration::from_secs(600)).require()?;

    let root = tools.join("root");
    fs::create_dir_all(&root)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut extract = fetching("dpkg-deb");
            extract.arg("-x").arg(&path).arg(&root);
            Job::new(format!("unpacking {}", path.display()), extract).require()?;
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// apt with a state of its own and the host's sources.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// Writes its configuration and fetches the package lists if they are not fresh.
    fn prepare(tools: &Path) -> anyhow::Result<Self> {
        let base = tools.join("apt");
        for folder in ["state/lists/partial", "cache/archives/partial", "log"] {
            fs::create_dir_all(base.join(folder))?;
        }
        let configuration = base.join("apt.conf");
        fs::write(&configuration, configuration_text(&base))?;
        let apt = Self { configuration };
        let stamp = base.join("updated");
        let fresh = fs::metadata(&stamp)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < LISTS_KEPT));
        if !fresh {
            let mut update = apt.command();
            update.arg("update");
            Job::new("fetching Debian's package lists", update).require()?;
            fs::write(stamp, "")?;
        }
        Ok(apt)
    }

    fn command(&self) -> Command {
        let mut command = fetching("apt-get");
        command.arg("-q").arg("-c").arg(&self.configuration);
        command
    }

    /// The packages, and what installing them would bring along.
    fn resolve(&self, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut simulate = self.command();
        simulate.args(["--simulate", "--no-install-recommends", "install"]).args(packages);
        let plan = Job::new("resolving dependencies", simulate).require()?;
        let mut names: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
        names.extend(planned(&plan));
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// apt's configuration: what it writes goes below `base`; hooks of the host's that clean the host's caches do
/// not run.
fn configuration_text(base: &Path) -> String {
    let base = base.display();
    format!(
        "Dir::State \"{base}/state\";\n\
         Dir::State::status \"/var/lib/dpkg/status\";\n\
         Dir::Cache \"{base}/cache\";\n\
         Dir::Log \"{base}/log\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Retries \"3\";\n\
         Acquire::Languages \"none\";\n\
         Debug::NoLocking \"true\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Post-Invoke;\n"
    )
}

/// Names of the packages in a simulation's `Inst` lines, the host's own left out.
fn planned(plan: &str) -> impl Iterator<Item = String> + '_ {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .filter(|name| !HOST_ONLY.contains(&name.split(':').next().unwrap_or(name)))
        .map(str::to_owned)
}

/// Writes the wrapper `bin/NAME` for a program that was unpacked, with the unpacked libraries if it needs them.
pub fn wrap(tools: &Path, name: &str, other_names: &[&str]) -> anyhow::Result<()> {
    let root = tools.join("root");
    let Some(program) = find(&root, name, other_names) else {
        bail!("no such program below `{}`", root.display());
    };
    let libraries = library_folders(&root);
    let missing = missing_libraries(&program, None)?;
    let path = if missing.is_empty() { None } else { Some(libraries.join(":")) };
    if let Some(path) = &path {
        let still = missing_libraries(&program, Some(path))?;
        if !still.is_empty() {
            bail!("libraries are missing: {}", still.join(", "));
        }
    }
    write_script(
        &tools.join("bin").join(name),
        &wrapper_text(&program.display().to_string(), path.as_deref()),
    )
}

fn wrapper_text(program: &str, library_path: Option<&str>) -> String {
    let program = quote(program);
    match library_path {
        None => format!("#!/bin/sh\nexec {program} \"$@\"\n"),
        Some(path) => {
            let path = quote(path);
            format!("#!/bin/sh\nLD_LIBRARY_PATH={path}\nexport LD_LIBRARY_PATH\nexec {program} \"$@\"\n")
        }
    }
}

fn find(root: &Path, name: &str, other_names: &[&str]) -> Option<PathBuf> {
    let names = std::iter::once(name).chain(other_names.iter().copied());
    names
        .flat_map(|name| ["usr/bin", "usr/sbin", "bin", "sbin"].map(|folder| root.join(folder).join(name)))
        .find(|path| path.is_file())
}

/// Folders below `root` that hold shared libraries, those of the machine's architecture included.
fn library_folders(root: &Path) -> Vec<String> {
    let mut folders = Vec::new();
    for library in ["usr/lib", "lib"] {
        let library = root.join(library);
        let Ok(entries) = fs::read_dir(&library) else { continue };
        let triplets = entries.filter_map(|entry| Some(entry.ok()?.path()));
        folders.extend(
            triplets
                .filter(|path| path.to_string_lossy().contains("-linux-gnu"))
                .map(|p| p.display().to_string()),
        );
        folders.push(library.display().to_string());
    }
    folders.sort();
    folders
}

/// Names of the shared libraries that the loader would not find.
fn missing_libraries(program: &Path, library_path: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("ldd");
    command.arg(program).env_remove("LD_LIBRARY_PATH").env("LC_ALL", "C.UTF-8");
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    let output = Job::new("ldd", command)
        .require()
        .with_context(|| format!("the libraries of `{}` cannot be listed", program.display()))?;
    Ok(not_found(&output))
}

/// Reads `NAME => not found` lines of ldd.
fn not_found(output: &str) -> Vec<String> {
    let missing = output.lines().filter_map(|line| line.trim().strip_suffix(" => not found"));
    missing.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_names_what_to_fetch() {
        let plan = "\
Reading package lists...
Inst openssh-client [1:9.2p1-2+deb12u6] (1:9.2p1-2+deb12u10 Debian:12.14/oldstable [amd64])
Inst libc6 [2.36-9] (2.36-10 Debian:12.14/oldstable [amd64])
Inst libc6:i386 (2.36-10 Debian:12.14/oldstable [i386])
Inst libuv1 (1.44.2-1 Debian:12.14/oldstable, Debian-Security:12/oldstable-security [amd64])
Conf libuv1 (1.44.2-1 Debian:12.14/oldstable [amd64])
";
        assert_eq!(planned(plan).collect::<Vec<_>>(), ["openssh-client", "libuv1"]);
    }

    #[test]
    fn ldd_output_names_what_is_missing() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibuv.so.1 => not found\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\tlibdns-9.so => not found\n";
        assert_eq!(not_found(output), ["libuv.so.1", "libdns-9.so"]);
        assert_eq!(not_found("\tstatically linked\n"), Vec::<String>::new());
    }

    #[test]
    fn wrappers_set_libraries_only_where_needed() {
        assert_eq!(wrapper_text("/t/dig", None), "#!/bin/sh\nexec '/t/dig' \"$@\"\n");
        assert!(wrapper_text("/t/dig", Some("/t/lib")).contains("LD_LIBRARY_PATH='/t/lib'\nexport"));
    }
}
