//! What a process may do: users, capabilities, limits.
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::io;

use super::{check, check_long};

/// Whether others of the same user may read this process's memory and its `/proc` entries.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_long::from(dumpable), 0, 0, 0) }).map(drop)
}

/// No program started from here on gains privileges from set-uid files or file capabilities.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// A session keyring of its own, so that the caller's keys cannot be read.
pub(crate) fn new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring. Kernels without keyrings answer ENOSYS, where there is
    // nothing to hide.
    unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>());
    }
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// `CAP_SETGID`, of linux/capability.h.
pub(crate) const CAP_SETGID: u32 = 6;
/// `CAP_SETUID`, of linux/capability.h.
pub(crate) const CAP_SETUID: u32 = 7;
/// `CAP_KILL`, of linux/capability.h.
pub(crate) const CAP_KILL: u32 = 5;
/// `CAP_SETPCAP`, of linux/capability.h.
pub(crate) const CAP_SETPCAP: u32 = 8;
/// `CAP_NET_ADMIN`, of linux/capability.h.
pub(crate) const CAP_NET_ADMIN: u32 = 12;
/// `CAP_SYS_ADMIN`, of linux/capability.h.
pub(crate) const CAP_SYS_ADMIN: u32 = 21;

/// Keeps exactly these capabilities (numbers below 32), permitted and effective.
pub(crate) fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    let mask = kept.iter().fold(0_u32, |mask, cap| mask | 1 << cap);
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [CapData { effective: mask, permitted: mask, inheritable: 0 }, CapData::default()];
    // SAFETY: version 3 reads two data records, which are there.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Whether this process has these capabilities (numbers below 32) in effect.
pub(crate) fn has_capabilities(wanted: &[u32]) -> bool {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 writes two data records, which are there.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    result == 0 && wanted.iter().all(|cap| data[0].effective & (1 << cap) != 0)
}

/// Empties the bounding and ambient sets: whatever is executed later cannot get a capability back.
pub(crate) fn drop_bounding_capabilities() -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })?;
    for capability in 0..64_u64 {
        // SAFETY: plain values.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            // Past the last capability that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Drops the supplementary groups and takes one user and one group for good.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list needs no memory.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain values.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain values.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Sets one resource limit, never above what the caller may have.
pub(crate) fn limit(resource: i32, soft: u64, hard: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the record given.
    check(unsafe { libc::getrlimit(resource as _, &raw mut now) })?;
    let hard = hard.min(now.rlim_max);
    let wanted = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: the kernel reads the record given.
    check(unsafe { libc::setrlimit(resource as _, &raw const wanted) }).map(drop)
}

/// Takes a file-system identity (who owns what is made); the effective one stays.
pub(crate) fn set_file_identity(uid: u32, gid: u32) {
    // SAFETY: plain values; these two calls report nothing.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// How many descriptors this process may have open, if it asks.
pub(crate) fn open_file_limit() -> io::Result<u64> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the record given.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) })?;
    Ok(now.rlim_max)
}
