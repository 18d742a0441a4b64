//! The uplink: the way by which packets leave the region for good, over an interface of the host's.
//!
//! INVARIANT: only what an internet gateway would carry is carried: nothing private, reserved, or of the region's own.
//! That an address is not the host's either is asked when a connection is made, by whoever makes it.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::LazyLock;

use postern_model::Ipv4Net;

use crate::plan::interval::{Found, IntervalMap};

/// How packets leave the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplink {
    /// The host's interface.
    pub link: LinkName,
    /// Whether ICMP echo can be carried: not every host lets an ordinary user send it.
    pub echo: bool,
}

/// The longest name that Linux gives an interface (`IFNAMSIZ` without the zero at its end).
const LINK_NAME_BYTES: usize = 15;

/// The name of an interface of the host's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkName {
    bytes: [u8; LINK_NAME_BYTES],
    length: u8,
}

/// It cannot be an interface's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a network interface")]
pub struct NotALinkName(String);

impl LinkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // It was made of a text, and whole.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for LinkName {
    type Err = NotALinkName;

    /// Any name that the kernel takes (`dev_valid_name`).
    fn from_str(text: &str) -> Result<Self, NotALinkName> {
        let refused = text.is_empty()
            || text.len() > LINK_NAME_BYTES
            || matches!(text, "." | "..")
            || text
                .bytes()
                .any(|byte| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace());
        if refused {
            return Err(NotALinkName(text.to_owned()));
        }
        let mut bytes = [0; LINK_NAME_BYTES];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
        Ok(Self { bytes, length: u8::try_from(text.len()).unwrap_or(0) })
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What no internet gateway carries packets to: blocks that are nobody's on the internet ("IANA IPv4 Special-Purpose
/// Address Registry"), and 198.18.0.0/15, which stands for the internet inside the region: its services and Elastic IP
/// addresses are there, and what of it is not there is nowhere.
const NOT_CARRIED: [([u8; 4], u8); 11] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

static BLOCKS: LazyLock<IntervalMap<()>> = LazyLock::new(|| {
    let blocks = NOT_CARRIED.iter().map(|(address, length)| {
        let block = Ipv4Net::new(Ipv4Addr::from(*address), *length).unwrap_or_default();
        (block, ())
    });
    IntervalMap::new(blocks)
});

/// The block around an address in which all or nothing is carried; a value where nothing is.
pub(crate) fn not_carried(address: Ipv4Addr) -> Found<()> {
    BLOCKS.find(u32::from(address))
}

/// Whether an internet gateway carries packets to an address at all.
pub fn is_carried(address: Ipv4Addr) -> bool {
    not_carried(address).value.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_private_is_carried() {
        let nowhere = [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.1",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.0",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.4",
            "255.255.255.255",
        ];
        for address in nowhere {
            assert!(!is_carried(address.parse().unwrap()), "{address}");
        }
        let somewhere = [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.113.1",
            "223.255.255.255",
        ];
        for address in somewhere {
            assert!(is_carried(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_name_is_one_that_the_kernel_takes() {
        for good in ["eth0", "up0", "wlp0s20f3", "fifteen-letters"] {
            assert_eq!(good.parse::<LinkName>().unwrap().to_string(), good);
        }
        for bad in ["", "sixteen-letters-", "a b", "eth0:1", "a/b", ".", ".."] {
            let error = bad.parse::<LinkName>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{bad}` is not the name of a network interface"));
        }
    }
}
