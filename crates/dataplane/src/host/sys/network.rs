//! Interfaces, sockets, and the kernel's packet programs.
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{check, check_long, own};

/// Whether this process may talk to the `bpf` system call at all: loads the smallest classifier there is.
pub(crate) fn load_smallest_classifier() -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    // r0 = 0; exit
    let program: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let licence = c"GPL";
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        licence: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let load = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        count: 2,
        instructions: program.as_ptr().expose_provenance() as u64,
        licence: licence.as_ptr().expose_provenance() as u64,
        ..Load::default()
    };
    // SAFETY: the attribute holds pointers to two instructions and a C string that live through the call.
    let fd = check_long(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>())
    })?;
    own(fd)
}

/// Attaches a classifier to an interface's TCX ingress hook; dropping the result detaches it.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, interface_index: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_TCX_INGRESS: u32 = 46;
    let attribute: [u32; 12] = [
        u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX),
        interface_index,
        BPF_TCX_INGRESS,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the attribute is plain numbers.
    let fd = check_long(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, attribute.as_ptr(), size_of_val(&attribute))
    })?;
    own(fd)
}

/// What `bpf` takes to pin an object, or to open a pinned one.
#[repr(C)]
#[derive(Default)]
struct PinnedObject {
    path: u64,
    fd: u32,
    flags: u32,
    directory: i32,
    spare: u32,
}

/// Pins an object of the kernel's programs in a directory of a file system for that.
pub(crate) fn pin_object(object: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    const BPF_OBJ_PIN: libc::c_int = 6;
    let fd = u32::try_from(object.as_raw_fd()).map_err(io::Error::other)?;
    pinned(BPF_OBJ_PIN, fd, directory, name).map(drop)
}

/// Opens an object that was pinned.
pub(crate) fn open_object(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_int = 7;
    own(pinned(BPF_OBJ_GET, 0, directory, name)?)
}

fn pinned(command: libc::c_int, fd: u32, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::c_long> {
    // Since Linux 6.5, which is older than TCX.
    const BPF_F_PATH_FD: u32 = 1 << 14;
    let attribute = PinnedObject {
        path: name.as_ptr().expose_provenance() as u64,
        fd,
        flags: BPF_F_PATH_FD,
        directory: directory.as_raw_fd(),
        spare: 0,
    };
    // SAFETY: the attribute points to a C string that lives through the call; its size is given.
    check_long(unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw const attribute, size_of::<PinnedObject>())
    })
}

/// Runs a classifier on a frame that came in by an interface of the calling thread's network namespace. Gives what it
/// said, and the frame as it left it.
pub(crate) fn run_program(
    program: BorrowedFd<'_>,
    interface_index: u32,
    frame: &[u8],
) -> io::Result<(u32, Vec<u8>)> {
    const BPF_PROG_TEST_RUN: libc::c_int = 10;
    /// The program may make a frame longer than it was, by less than this.
    const ROOM: usize = 256;
    /// What `bpf_attr.test` is (linux/bpf.h).
    #[repr(C)]
    struct Attribute {
        program: u32,
        said: u32,
        bytes_in: u32,
        bytes_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_bytes_in: u32,
        context_bytes_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        processor: u32,
        batch: u32,
        padding: u32,
    }
    // `struct __sk_buff` up to `ifindex`, its eleventh word; what is left out counts as zero.
    let mut context = [0_u32; 11];
    context[10] = interface_index;
    let mut out = vec![0_u8; frame.len() + ROOM];
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let mut attribute = Attribute {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        said: 0,
        bytes_in: length(frame.len())?,
        bytes_out: length(out.len())?,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        duration: 0,
        context_bytes_in: length(size_of_val(&context))?,
        context_bytes_out: 0,
        context_in: context.as_ptr() as u64,
        context_out: 0,
        flags: 0,
        processor: 0,
        batch: 0,
        padding: 0,
    };
    // SAFETY: the attribute points to the frame, the context and the buffer for what comes out, each as long as it
    // says; the kernel writes into the attribute and that buffer only.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attribute,
            // Without the padding.
            std::mem::offset_of!(Attribute, padding),
        )
    })?;
    out.truncate(attribute.bytes_out as usize);
    Ok((attribute.said, out))
}

/// Sets `IFF_UP` on an interface of the calling thread's network namespace.
pub(crate) fn bring_up(interface: &str) -> io::Result<()> {
    with_interface_request(interface, |socket, request| {
        // SAFETY: the request names an interface; the kernel fills in its flags, which are then written back.
        unsafe {
            check(libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut *request))?;
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut *request)).map(drop)
        }
    })
}

/// Runs an ethtool command whose argument is `data`, on an interface of the calling thread's network namespace.
pub(crate) fn ethtool(interface: &str, data: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    with_interface_request(interface, |socket, request| {
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: the caller's buffer is as long as the command's own header says; the kernel bounds its writes by
        // that header.
        check(unsafe { libc::ioctl(socket, SIOCETHTOOL as _, &raw mut *request) }).map(drop)
    })
}

fn with_interface_request<T>(
    interface: &str,
    call: impl FnOnce(RawFd, &mut libc::ifreq) -> io::Result<T>,
) -> io::Result<T> {
    // SAFETY: plain values; the result is a new descriptor.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    let socket = own(libc::c_long::from(fd))?;
    // SAFETY: all zeros is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface_name(interface)?;
    request.ifr_name = name;
    call(socket.as_raw_fd(), &mut request)
}

fn interface_name(interface: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let bytes = interface.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{interface}` is not an interface name"),
        ));
    }
    let mut name = [0; libc::IFNAMSIZ];
    for (place, byte) in name.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    Ok(name)
}

/// The index of an interface of the calling thread's network namespace.
pub(crate) fn interface_index(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface).map_err(io::Error::other)?;
    // SAFETY: the name is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// All interfaces of the calling thread's network namespace, with their names.
pub(crate) fn interfaces() -> io::Result<Vec<(u32, String)>> {
    let list = nix::net::if_::if_nameindex()?;
    Ok(list.iter().map(|found| (found.index(), found.name().to_string_lossy().into_owned())).collect())
}

/// Sets a socket option that is one int.
pub(crate) fn set_int_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one int.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Opens and closes a packet socket of the calling thread's namespace.
pub(crate) fn open_packet_probe() -> io::Result<()> {
    // SAFETY: plain values; the result is a new descriptor.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    own(libc::c_long::from(fd)).map(drop)
}
