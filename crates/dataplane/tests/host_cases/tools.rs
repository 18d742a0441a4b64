//! Programs that cases run inside instances.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::time::TimeValLike;

pub fn run(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["ping", address] => ping(address, 3_000),
        ["ping-briefly", address] => ping(address, 100),
        ["serve", address, count] => serve(address, count),
        ["fetch", address, count] => fetch(address, count),
        ["abstract", name] => connect_abstract(name),
        ["privileges"] => privileges(),
        _ => Err(format!("no tool {arguments:?}")),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// One echo request over an unprivileged ICMP socket.
fn ping(address: &str, milliseconds: i64) -> Result<String, String> {
    use nix::sys::socket as s;
    let target: Ipv4Addr = address.parse().map_err(text)?;
    let socket =
        s::socket(s::AddressFamily::Inet, s::SockType::Datagram, s::SockFlag::empty(), s::SockProtocol::Icmp)
            .map_err(text)?;
    s::setsockopt(&socket, s::sockopt::ReceiveTimeout, &nix::sys::time::TimeVal::milliseconds(milliseconds))
        .map_err(text)?;
    let request = [8, 0, 0, 0, 0, 0, 0, 1, b'p', b'o', b's', b't'];
    let to = s::SockaddrIn::from(std::net::SocketAddrV4::new(target, 0));
    s::sendto(socket.as_raw_fd(), &request, &to, s::MsgFlags::empty()).map_err(text)?;
    let mut answer = [0_u8; 64];
    let got = s::recv(socket.as_raw_fd(), &mut answer, s::MsgFlags::empty()).map_err(text)?;
    if got == request.len() && answer[0] == 0 && answer[8..12] == request[8..12] {
        Ok("pong".to_owned())
    } else {
        Err(format!("a strange answer {:?}", &answer[..got]))
    }
}

/// What is sent again and again: its length has no factor in common with a frame's.
fn pattern() -> Vec<u8> {
    (0..1_048_573_u32).map(|n| (n % 251) as u8).collect()
}

/// Sends that many bytes to whoever connects first.
fn serve(address: &str, count: &str) -> Result<String, String> {
    let address: SocketAddr = address.parse().map_err(text)?;
    let mut left: usize = count.parse().map_err(text)?;
    let listener = TcpListener::bind(address).map_err(text)?;
    println!("listening");
    let (mut stream, _) = listener.accept().map_err(text)?;
    // Reno's way of sending is on every kernel and free to all, so that figures mean the same everywhere.
    let reno = nix::sys::socket::sockopt::TcpCongestion;
    nix::sys::socket::setsockopt(&stream, reno, &"reno".into()).map_err(text)?;
    let block = pattern();
    while left > 0 {
        let part = left.min(block.len());
        stream.write_all(&block[..part]).map_err(text)?;
        left -= part;
    }
    Ok("served".to_owned())
}

/// Reads until the end, and compares with what [`serve`] sends.
fn fetch(address: &str, count: &str) -> Result<String, String> {
    let address: SocketAddr = address.parse().map_err(text)?;
    let expected: usize = count.parse().map_err(text)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
    let block = pattern();
    let mut buffer = vec![0; block.len()];
    let mut position = 0_usize;
    loop {
        // Never across the end of the pattern, so that what came is a part of it.
        let at = position % block.len();
        let got = stream.read(&mut buffer[at..]).map_err(text)?;
        if got == 0 {
            break;
        }
        if buffer[at..at + got] != block[at..at + got] {
            return Err(format!("wrong bytes after {position}"));
        }
        position += got;
    }
    if position == expected {
        Ok(format!("fetched {position}"))
    } else {
        Err(format!("only {position} bytes"))
    }
}

/// Connects to a socket in the abstract namespace.
fn connect_abstract(name: &str) -> Result<String, String> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(text)?;
    std::os::unix::net::UnixStream::connect_addr(&address).map_err(text)?;
    Ok("connected".to_owned())
}

/// What a program could still do: each line is something that must be refused.
#[expect(unsafe_code, reason = "raw system calls that must fail")]
fn privileges() -> Result<String, String> {
    let mut done = Vec::new();
    // SAFETY: plain values, and a null target is refused by the kernel.
    unsafe {
        if libc::unshare(libc::CLONE_NEWUSER) == 0 {
            done.push("a user namespace");
        }
        if libc::unshare(libc::CLONE_NEWNET) == 0 {
            done.push("a network namespace");
        }
        if libc::setuid(0) == 0 {
            done.push("root");
        }
        if libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) == 0 {
            done.push("a mount");
        }
        if libc::umount2(c"/proc/sys".as_ptr(), libc::MNT_DETACH) == 0 {
            done.push("an unmount");
        }
        if libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) >= 0 {
            done.push("a packet socket");
        }
        if libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0) == 0 {
            done.push("tracing init");
        }
        if libc::kill(1, libc::SIGKILL) == 0 && libc::kill(1, 0) != 0 {
            done.push("killing init");
        }
        let name: [MaybeUninit<u8>; 1] = [MaybeUninit::new(b'x')];
        if libc::sethostname(name.as_ptr().cast(), 1) == 0 {
            done.push("a host name");
        }
    }
    if done.is_empty() { Ok("nothing".to_owned()) } else { Err(done.join(", ")) }
}

/// Makes a tap interface in the calling thread's network namespace, up, and opens its other side.
#[expect(unsafe_code, reason = "the ioctls of taps")]
pub fn open_tap(name: &str) -> std::fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    let tap = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: the requests live through the calls, and name an interface.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        assert_eq!(libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request), 0);
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request), 0);
        libc::close(socket);
    }
    tap
}
