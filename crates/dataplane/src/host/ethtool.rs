//! Offloads of an interface.
//!
//! What a packet socket can hand over whole are TCP segments over IPv4 and IPv6 and checksums that are still to be
//! filled in. A frame with any other offload (a tunnel's, UDP segmentation before Linux 6.2, SCTP) makes the socket
//! answer `EINVAL` and lose it. So those offloads are switched off at both ends of a port, and the sender's kernel
//! segments such packets itself.

use std::io;
use std::sync::OnceLock;

use super::sys;

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const NAME_BYTES: usize = 32;
/// More features than any kernel has; bounds what is asked for.
const MAX_FEATURES: u32 = 512;

/// Features that a packet socket cannot carry.
const UNWANTED: [&str; 13] = [
    "tx-esp-segmentation",
    "tx-gre-csum-segmentation",
    "tx-gre-segmentation",
    "tx-gso-list",
    "tx-gso-partial",
    "tx-checksum-sctp",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-sctp-segmentation",
    "tx-tunnel-remcsum-segmentation",
    "tx-udp-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-udp_tnl-segmentation",
];

/// Switches off, on an interface of the calling thread's namespace, what a packet socket cannot carry.
pub(super) fn disable_uncarried_offloads(interface: &str) -> io::Result<()> {
    let bits = unwanted_bits(interface)?;
    let blocks = bits.len();
    let mut command = vec![ETHTOOL_SFEATURES, u32::try_from(blocks).map_err(io::Error::other)?];
    // Per block of 32 features: which to change, and to what. A feature that cannot be changed is off already.
    command.extend(bits.iter().flat_map(|block| [*block, 0]));
    sys::ethtool(interface, &mut command)
}

/// The unwanted features as blocks of 32 bits. The numbering is the kernel's, the same for every interface.
fn unwanted_bits(interface: &str) -> io::Result<&'static [u32]> {
    static BITS: OnceLock<Vec<u32>> = OnceLock::new();
    if let Some(bits) = BITS.get() {
        return Ok(bits);
    }
    let names = feature_names(interface)?;
    let mut bits = vec![0_u32; names.len().div_ceil(32)];
    for (index, name) in names.iter().enumerate() {
        if UNWANTED.contains(&name.as_str()) {
            bits[index / 32] |= 1 << (index % 32);
        }
    }
    Ok(BITS.get_or_init(|| bits))
}

fn feature_names(interface: &str) -> io::Result<Vec<String>> {
    let count = feature_count(interface)?;
    let words = usize::try_from(count).map_err(io::Error::other)? * NAME_BYTES / 4;
    let mut strings = vec![0_u32; 3 + words];
    strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    sys::ethtool(interface, &mut strings)?;
    let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(bytes
        .chunks(NAME_BYTES)
        .map(|name| {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
            String::from_utf8_lossy(&name[..end]).into_owned()
        })
        .collect())
}

fn feature_count(interface: &str) -> io::Result<u32> {
    // Command, reserved, a 64-bit mask of string sets, and the answer for the one asked for.
    let mut info = [0_u32; 5];
    info[0] = ETHTOOL_GSSET_INFO;
    let mask = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
    info[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    info[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    sys::ethtool(interface, &mut info)?;
    if info[4] == 0 || info[4] > MAX_FEATURES {
        return Err(io::Error::other(format!("`{}` interface features", info[4])));
    }
    Ok(info[4])
}
