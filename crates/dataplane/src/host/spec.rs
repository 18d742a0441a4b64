//! What an instance is to be: the values that callers fill in, checked before anything is made of them.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The login user that programs in an instance run as.
pub const LOGIN_USER: &str = "ec2-user";
/// That user's home directory.
pub const LOGIN_HOME: &str = "/home/ec2-user";
/// That user's and its group's number, as programs in the instance see it.
pub const LOGIN_ID: u32 = 1000;

/// How many files a specification may place.
const MAX_FILES: usize = 256;
/// How many bytes all of them may have together.
const MAX_FILE_BYTES: usize = 32 << 20;

/// A sandbox to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// What it is called in messages, the instance's id.
    pub name: String,
    /// Host name without domain, `ip-10-0-0-5`.
    pub host_name: String,
    /// The domain that the host name is in, where there is one; also the resolver's search domain.
    pub domain: Option<String>,
    /// The resolver's addresses, in order, at most three.
    pub name_servers: Vec<IpAddr>,
    /// Lines of `/etc/hosts` beside localhost.
    pub host_entries: Vec<(IpAddr, String)>,
    /// What every program in the instance finds in its environment beside the basics.
    pub environment: Vec<(String, String)>,
    /// What is put in place before the first program starts.
    pub files: Vec<FileSpec>,
    /// Directories or files of the host that are shown read-only under their own path, even where that path is
    /// otherwise hidden.
    pub read_only_binds: Vec<PathBuf>,
    /// Limit of each of the private directories `/home`, `/tmp` and `/var`, which live in memory.
    pub disk_bytes: u64,
}

/// A file in one of an instance's private directories.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileSpec {
    /// Absolute, and below `/home`, `/etc`, `/run`, `/tmp` or `/var`. What is below the login user's home belongs to
    /// that user, all else to root.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A host name or domain that is none.
    #[error("`{0}` is not a host name")]
    HostName(String),
    /// A path that is not plain, or not in a private directory.
    #[error("the file `{}` is not a plain absolute path below /home, /etc, /run, /tmp or /var", .0.display())]
    FilePath(PathBuf),
    /// A path that cannot be bound.
    #[error("the directory to show `{}` is not a plain absolute path", .0.display())]
    BindPath(PathBuf),
    /// More than there is room for.
    #[error("`{count}` {what} are more than the `{limit}` allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much was given.
        count: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// A name or value that no environment can hold.
    #[error("`{0}` cannot be an environment variable")]
    Environment(String),
    /// A line break or zero byte where there may be none.
    #[error("`{0}` cannot be a host entry")]
    HostEntry(String),
    /// Too little to hold an instance's files.
    #[error("`{0}` bytes are too few for an instance's private directories")]
    Disk(u64),
}

impl InstanceSpec {
    /// A specification with a name, one gibibyte of space, and nothing else.
    #[must_use]
    pub fn new(name: &str, host_name: &str) -> Self {
        Self {
            name: name.to_owned(),
            host_name: host_name.to_owned(),
            domain: None,
            name_servers: Vec::new(),
            host_entries: Vec::new(),
            environment: Vec::new(),
            files: Vec::new(),
            read_only_binds: Vec::new(),
            disk_bytes: 1 << 30,
        }
    }

    /// Refuses what cannot be made as asked.
    pub fn check(&self) -> Result<(), SpecError> {
        if !is_host_name(&self.host_name) || self.host_name.len() > 63 {
            return Err(SpecError::HostName(self.host_name.clone()));
        }
        if let Some(domain) = self.domain.as_deref().filter(|name| !is_host_name(name)) {
            return Err(SpecError::HostName(domain.to_owned()));
        }
        check_environment(&self.environment)?;
        at_most("name servers", self.name_servers.len(), 3)?;
        at_most("host entries", self.host_entries.len(), 256)?;
        if let Some((_, name)) = self.host_entries.iter().find(|(_, name)| !is_host_name(name)) {
            return Err(SpecError::HostEntry(name.clone()));
        }
        at_most("files", self.files.len(), MAX_FILES)?;
        let bytes = self.files.iter().map(|file| file.bytes.len()).sum();
        at_most("bytes of files", bytes, MAX_FILE_BYTES)?;
        if let Some(file) = self.files.iter().find(|file| !is_private(&file.path)) {
            return Err(SpecError::FilePath(file.path.clone()));
        }
        at_most("directories to show", self.read_only_binds.len(), 32)?;
        if let Some(path) = self.read_only_binds.iter().find(|path| !is_plain(path)) {
            return Err(SpecError::BindPath(path.clone()));
        }
        if self.disk_bytes < 1 << 20 {
            return Err(SpecError::Disk(self.disk_bytes));
        }
        Ok(())
    }

    /// Host name with domain.
    #[must_use]
    pub fn full_host_name(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}.{domain}", self.host_name),
            None => self.host_name.clone(),
        }
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), SpecError> {
    if count <= limit { Ok(()) } else { Err(SpecError::TooMany { what, count, limit }) }
}

/// Refuses variables that no environment can hold.
pub(super) fn check_environment(variables: &[(String, String)]) -> Result<(), SpecError> {
    at_most("environment variables", variables.len(), 1024)?;
    let wrong = |(name, value): &&(String, String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match variables.iter().find(wrong) {
        Some((name, _)) => Err(SpecError::Environment(name.clone())),
        None => Ok(()),
    }
}

fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

/// Absolute and free of `.` and `..`, and more than `/`.
fn is_plain(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && path.components().count() > 1
        && components.all(|component| matches!(component, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

fn is_private(path: &Path) -> bool {
    is_plain(path)
        && path.components().count() > 2
        && ["/home", "/etc", "/run", "/tmp", "/var"].iter().any(|private| path.starts_with(private))
}

pub(super) mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::host) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::host) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(path: &str) -> Result<(), SpecError> {
        let mut spec = InstanceSpec::new("i-1", "ip-10-0-0-5");
        spec.files.push(FileSpec { path: path.into(), mode: 0o600, bytes: vec![0, 255] });
        spec.check()
    }

    #[test]
    fn files_stay_in_private_directories() {
        for good in ["/home/ec2-user/.aws/config", "/etc/postern/ca.pem", "/var/x"] {
            assert_eq!(with_file(good), Ok(()), "{good}");
        }
        for bad in ["/usr/bin/sh", "/etc/../usr/bin/sh", "/etc", "etc/x", "/", "/homes/x"] {
            assert_eq!(with_file(bad), Err(SpecError::FilePath(bad.into())), "{bad}");
        }
    }

    #[test]
    fn names_are_host_names() {
        for bad in ["", "-a", "a b", "a\nb", "a..b"] {
            let spec = InstanceSpec::new("i-1", bad);
            assert_eq!(spec.check(), Err(SpecError::HostName(bad.to_owned())));
        }
    }

    #[test]
    fn bytes_survive_the_wire() {
        let mut spec = InstanceSpec::new("i-1", "h");
        let bytes: Vec<u8> = (0..=255).collect();
        spec.files.push(FileSpec { path: "/etc/x".into(), mode: 0o644, bytes: bytes.clone() });
        let json = serde_json::to_string(&spec).unwrap();
        let back: InstanceSpec = serde_json::from_str(&json).unwrap();
        assert_eq!(back.files[0].bytes, bytes);
    }
}
