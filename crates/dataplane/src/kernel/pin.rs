//! What outlives this process of the kernel program: maps, programs and the places where they stand, pinned in a file
//! system of the region's own, which the keeper holds and which has no name anywhere.
//!
//! ```text
//!   notes              which version all of this is, and what the next process cannot read elsewhere
//!   stub, program      what stands on ports, and what it goes on into
//!   slot               where the stub finds the program
//!   maps/NAME          what program and forwarder share
//!   links/INTERFACE    the stub on a port, by the index of the port's host end
//! ```
//!
//! INVARIANT: what is pinned is used only if its notes say that it was finished, and by a version whose maps read as this
//! one's do. Everything else is replaced, never read.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::layout;

/// The directory with the maps, and with the links.
const MAPS: &str = "maps";
const LINKS: &str = "links";

/// A directory for pinned objects.
#[derive(Debug)]
pub struct Pins {
    directory: OwnedFd,
}

impl Pins {
    /// In this directory, which is empty or was used before.
    pub fn new(directory: OwnedFd) -> io::Result<Self> {
        let pins = Self { directory };
        for name in [MAPS, LINKS] {
            match fs::create_dir(pins.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(pins)
    }

    /// A directory of nobody else's, for tests: it is there as long as this is, or what is opened in it.
    #[cfg(test)]
    pub fn own() -> io::Result<Self> {
        Self::new(crate::host::sys::mount_bpf()?)
    }

    /// The same directory once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { directory: self.directory.try_clone()? })
    }

    /// A path by which this process finds something in it.
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.path(&format!("{MAPS}/{name}"))
    }

    /// Opens a map.
    pub(super) fn open_map(&self, name: &str) -> io::Result<OwnedFd> {
        self.open(&format!("{MAPS}/{name}"))
    }

    /// Where something else is pinned.
    pub(super) fn object(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    /// Opens something that is pinned.
    pub(super) fn open(&self, name: &str) -> io::Result<OwnedFd> {
        crate::host::sys::open_object(self.directory.as_fd(), &c_name(name)?)
    }

    /// Whether there is something of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Pins something. What had the name before is not pinned by it any more.
    pub(super) fn pin(&self, name: &str, object: BorrowedFd<'_>) -> io::Result<()> {
        self.remove(name)?;
        crate::host::sys::pin_object(object, self.directory.as_fd(), &c_name(name)?)
    }

    /// Pins the stub on a port.
    pub(super) fn pin_link(&self, interface: u32, link: BorrowedFd<'_>) -> io::Result<()> {
        self.pin(&link_name(interface), link)
    }

    /// The stub on a port, if it stands there.
    pub(super) fn open_link(&self, interface: u32) -> io::Result<Option<OwnedFd>> {
        match self.open(&link_name(interface)) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the stub away from a port, unless somebody else holds it there.
    pub(super) fn remove_link(&self, interface: u32) -> io::Result<()> {
        self.remove(&link_name(interface))
    }

    /// The ports on which the stub stands.
    pub(super) fn links(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(self.path(LINKS))?;
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        Ok(entries.filter_map(name).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn link_name(interface: u32) -> String {
    format!("{LINKS}/{interface}")
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::other)
}

/// What the maps of this version mean: the header that both sides are built with, which maps there are, and a number for
/// what a change of neither would show.
pub(super) fn fingerprint(maps: &[&str]) -> u64 {
    /// To be raised when what is in the maps comes to mean something else though their layout stays.
    const MEANING: u64 = 1;
    let header = layout::header();
    let bytes = header.bytes().chain(maps.iter().flat_map(|name| name.bytes().chain([0])));
    // FNV-1a: it is to tell versions apart, and nobody is to be kept from making two alike.
    bytes.chain(MEANING.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
