//! The system calls that neither the standard library nor `nix` offers, each behind a safe function.
//!
//! This is the place of the crate's `unsafe` outside packet sockets: a function here takes and returns
//! owned descriptors and plain values, so that its callers cannot break memory safety.
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

mod network;
mod privilege;
mod terminal;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

pub(crate) use network::*;
pub(crate) use privilege::*;
pub(crate) use terminal::*;

/// Turns the `-1` of a C call into the error it left behind.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A path as the kernel takes it.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` holds a zero byte", path.display()))
    })
}

/// Lets the calling process end, as other programs do, when it writes to a pipe that nobody reads any more. For short
/// commands; a program that serves others must not.
pub fn end_with_closed_pipes() {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old one, with the new one's process id.
    Parent(libc::pid_t),
}

/// Makes a process as `fork` does, in new namespaces named by `namespaces` (`CLONE_NEW…`).
///
/// INVARIANT: the calling process has one thread, so that no lock of the C library or of the allocator is held
/// for ever in the child. [`require_single_thread`] checks it where processes are started.
pub(crate) fn fork_into(namespaces: libc::c_int) -> io::Result<Fork> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child has its own copy of all memory.
    let pid = check_long(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(match libc::pid_t::try_from(pid) {
        Ok(0) => Fork::Child,
        Ok(pid) => Fork::Parent(pid),
        Err(_) => return Err(io::Error::other("clone returned no process id")),
    })
}

/// An error unless this process has exactly one thread.
pub(crate) fn require_single_thread() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads == 1 {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "the process has `{threads}` threads already; this must come first in main"
        )))
    }
}

/// Leaves the process at once: no destructors, no exit handlers of the parent's image.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(status) }
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets mount attributes (`MOUNT_ATTR_…`) on a mount, and on all mounts below it where `recursive`.
pub(crate) fn set_mount_attributes(path: &Path, set: u64, recursive: bool) -> io::Result<()> {
    let path = c_path(path)?;
    let attributes = MountAttr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the attributes live through the call; the size is theirs.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// A private, unattached copy of the one mount at `path` (nothing mounted below it is in it).
pub(crate) fn clone_mount(path: &Path) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let path = c_path(path)?;
    // SAFETY: the path is a C string; the result is a new descriptor or an error.
    let fd = check_long(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE | libc::O_CLOEXEC)
    })?;
    own(fd)
}

fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::other("no such descriptor"))?;
    // SAFETY: the kernel has just handed this descriptor out; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens `path` for writing below the directory `dir`, and writes `text`.
pub(crate) fn write_at(dir: BorrowedFd<'_>, path: &CStr, text: &str) -> io::Result<()> {
    use std::io::Write;
    // SAFETY: `path` is a C string; the result is a new descriptor or an error.
    let fd =
        check(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    let mut file = std::fs::File::from(own(libc::c_long::from(fd))?);
    file.write_all(text.as_bytes())
}

/// Sends `SIGKILL` to this process when its parent thread ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

/// Lives on when the parent thread ends.
pub(crate) fn outlive_parent() -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) }).map(drop)
}

/// A descriptor of a process, which becomes readable when the process has ended.
pub(crate) fn open_process(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: plain values; the result is a new descriptor, closed on exec.
    own(check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?)
}

/// A file system for pinned objects of the kernel's, mounted nowhere: it is there as long as the descriptor is.
pub(crate) fn mount_bpf() -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    // SAFETY: the name is a C string; the result is a new descriptor.
    let context =
        own(check_long(unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), FSOPEN_CLOEXEC) })?)?;
    let (mode, bits) = (c"mode", c"700");
    // SAFETY: key and value are C strings.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_SET_STRING,
            mode.as_ptr(),
            bits.as_ptr(),
            0,
        )
    })?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    check_long(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0)
    })?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: plain values; the result is a new descriptor.
    own(check_long(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
    })?)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: the caller is a fresh child that owns no descriptor object from `first` on.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: nothing is closed now.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Takes ownership of a descriptor that this process has put at a fixed number with [`install_fd`].
pub(crate) fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain values; an error says that nothing is open under the number.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    own(libc::c_long::from(number))
}

/// Makes descriptor number `target` a copy of `fd`, not closed on exec.
pub(crate) fn install_fd(fd: RawFd, target: RawFd) -> io::Result<()> {
    if fd == target {
        // SAFETY: plain values.
        return check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: plain values; what `target` held is meant to be closed.
    check(unsafe { libc::dup2(fd, target) }).map(drop)
}

/// A copy of `fd` with a number of at least `least`, closed on exec.
pub(crate) fn copy_fd_above(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain values; the result is a new descriptor.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })?;
    own(libc::c_long::from(copy))
}

/// Puts every signal back to its default and blocks none, as a program expects to find them.
pub(crate) fn reset_signals() {
    // The kernel's own record, all zeros: the default disposition. It is larger than any architecture's, and the
    // call is made directly because the C library refuses the two signals that it keeps for itself.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // SAFETY: the kernel reads the record; refusals (SIGKILL, SIGSTOP) do not matter.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                size_of::<u64>(),
            );
        }
    }
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Replaces the program. Returns only on failure.
pub(crate) fn execute(path: &CStr, argv: &[CString], environment: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let environment = pointers(environment);
    // SAFETY: both lists end with a null pointer and outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Overwrites the command line and environment that `/proc/PID/cmdline` and `environ` show, in a forked process
/// that shares nothing with its parent any more. What the caller was started with is not for instances to read.
///
/// After this the process must not read its arguments or environment.
pub(crate) fn wipe_process_title(title: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The command name, in parentheses, may itself hold spaces and parentheses.
    let (_, fields) =
        stat.rsplit_once(')').ok_or_else(|| io::Error::other("`/proc/self/stat` has no command name"))?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields 48 to 51 of proc_pid_stat(5); the first one after the name is field 3.
    let field =
        |number: usize| -> usize { fields.get(number - 3).and_then(|text| text.parse().ok()).unwrap_or(0) };
    blank(field(48), field(49), title.as_bytes());
    blank(field(50), field(51), &[]);
    let name = CString::new(title).map_err(io::Error::other)?;
    // SAFETY: the kernel copies at most 16 bytes of a C string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

fn blank(start: usize, end: usize, text: &[u8]) {
    if start == 0 || end <= start {
        return;
    }
    let length = end - start;
    let area = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel put the strings of the command line (or of the environment) there when the program was
    // started and reports the area as this process's own; it is writable stack memory, one thread runs, and the
    // last byte stays zero so that every string in it still ends.
    unsafe {
        std::ptr::write_bytes(area, 0, length);
        std::ptr::copy_nonoverlapping(text.as_ptr(), area, text.len().min(length - 1));
    }
}

/// Forks a child that does one thing and reports it by a number (an errno, 0 for success).
///
/// Unlike [`fork_into`] this may be called with other threads about: `job` must then do system calls only.
pub(crate) fn in_child(job: impl FnOnce() -> u8) -> io::Result<u8> {
    // SAFETY: the child runs `job` and leaves without running anything of the parent's.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        exit_now(i32::from(job()));
    }
    let mut status = 0;
    loop {
        // SAFETY: the kernel fills one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if libc::WIFEXITED(status) {
        Ok(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    } else {
        Err(io::Error::other(format!("the trial process ended by signal `{}`", libc::WTERMSIG(status))))
    }
}

/// A memory file with this content, to hand over what does not fit a message.
pub(crate) fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    // SAFETY: the name is a C string; the result is a new descriptor.
    let fd = check(unsafe { libc::memfd_create(c"postern".as_ptr(), libc::MFD_CLOEXEC) })?;
    let mut file = std::fs::File::from(own(libc::c_long::from(fd))?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// Waits until one of the descriptors can be read, at most `milliseconds` (for ever where negative). Returns
/// which of them have something, hang-ups included.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], milliseconds: i32) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: the kernel reads and writes the records given.
    let result = check(unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, milliseconds) });
    match result {
        Ok(_) => Ok(polled.map(|entry| entry.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(error) => Err(error),
    }
}

/// The same for any number of descriptors.
pub(crate) fn wait_for_any(fds: &[RawFd], milliseconds: i32) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> =
        fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(polled.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes the records given.
    let result = check(unsafe { libc::poll(polled.as_mut_ptr(), count, milliseconds) });
    match result {
        Ok(_) => Ok(polled.iter().map(|entry| entry.revents != 0).collect()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; fds.len()]),
        Err(error) => Err(error),
    }
}

/// Blocks `signals` and returns a descriptor that reads them.
pub(crate) fn signal_descriptor(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: the set is filled before it is used; the result is a new descriptor.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    own(libc::c_long::from(fd))
}

/// Reads and forgets what a signal descriptor holds.
pub(crate) fn drain_signals(fd: BorrowedFd<'_>) {
    let mut buffer = [0_u8; 1024];
    // SAFETY: the kernel writes at most the buffer's length; the descriptor does not block.
    while unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

/// A process that has ended, if there is one: its id and wait status.
pub(crate) fn reap_any() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: the kernel fills one int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Waits for one child of ours to end.
pub(crate) fn reap(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel fills one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Ok(status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a signal.
pub(crate) fn kill(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}
