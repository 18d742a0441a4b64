//! What programs do in a network: connections, echo requests, probes with a short life.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket as s;
use nix::sys::time::{TimeVal, TimeValLike};
use postern_dataplane::host::Namespace;

pub const PATIENCE: Duration = Duration::from_secs(5);

/// A server that answers each connection with who it is from, and then with everything that it is sent.
pub fn echo_server(
    namespace: &Namespace,
    address: SocketAddr,
    connections: usize,
) -> JoinHandle<Vec<SocketAddr>> {
    let listener = namespace.listen_tcp(address).unwrap();
    std::thread::spawn(move || serve(&listener, connections))
}

fn serve(listener: &TcpListener, connections: usize) -> Vec<SocketAddr> {
    let mut peers = Vec::new();
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let (mut stream, peer) = listener.accept().unwrap();
            peers.push(peer);
            std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    peers
}

pub fn connect(namespace: &Namespace, to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = namespace.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(2))).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Ok(stream)
}

/// Whether nobody answers, and nobody says so either.
pub fn is_silent(namespace: &Namespace, to: SocketAddr) -> bool {
    let tried = namespace.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(200))).unwrap();
    tried.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// Connects from a port of its own choice.
pub fn connect_from(namespace: &Namespace, from: SocketAddrV4, to: SocketAddrV4) -> nix::Result<TcpStream> {
    namespace
        .run(|| {
            let kind = s::SockType::Stream;
            let socket = s::socket(s::AddressFamily::Inet, kind, s::SockFlag::empty(), None)?;
            s::setsockopt(&socket, s::sockopt::ReuseAddr, &true)?;
            s::bind(socket.as_raw_fd(), &s::SockaddrIn::from(from))?;
            s::setsockopt(&socket, s::sockopt::SendTimeout, &TimeVal::seconds(2))?;
            s::connect(socket.as_raw_fd(), &s::SockaddrIn::from(to))?;
            Ok(TcpStream::from(socket))
        })
        .unwrap()
}

/// Says something and requires to hear it again.
pub fn say(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text)?;
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, text);
    Ok(())
}

/// Sends one echo request. Returns how long the answer took, if one came.
pub fn ping(namespace: &Namespace, to: Ipv4Addr, identifier: u16) -> Option<Duration> {
    namespace
        .run(|| {
            let socket = icmp();
            let mut request = vec![8, 0, 0, 0];
            request.extend(identifier.to_be_bytes());
            request.extend([0, 1]);
            request.extend(b"are you there?..");
            let mut sum: u32 =
                request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            request[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            let target = s::SockaddrIn::from(SocketAddrV4::new(to, 0));
            let began = std::time::Instant::now();
            s::sendto(socket.as_raw_fd(), &request, &target, s::MsgFlags::empty()).unwrap();
            let mut buffer = [0; 1500];
            loop {
                let read = s::recv(socket.as_raw_fd(), &mut buffer, s::MsgFlags::empty()).ok()?;
                if read >= 28 && buffer[20] == 0 && buffer[24..26] == identifier.to_be_bytes() {
                    assert_eq!(buffer[12..16], to.octets());
                    return Some(began.elapsed());
                }
            }
        })
        .unwrap()
}

fn icmp() -> std::os::fd::OwnedFd {
    let protocol = s::SockProtocol::Icmp;
    let socket = s::socket(s::AddressFamily::Inet, s::SockType::Raw, s::SockFlag::empty(), protocol).unwrap();
    s::setsockopt(&socket, s::sockopt::ReceiveTimeout, &TimeVal::seconds(1)).unwrap();
    socket
}

/// A datagram with this time to live, as `traceroute` sends it. Returns who answers, and with which ICMP type and
/// code.
pub fn probe(namespace: &Namespace, to: SocketAddr, ttl: u32) -> Option<(Ipv4Addr, u8, u8)> {
    namespace
        .run(|| {
            let listening = icmp();
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_ttl(ttl).unwrap();
            let own = socket.local_addr().unwrap().port();
            socket.send_to(b"probe", to).unwrap();
            let mut buffer = [0; 1500];
            loop {
                let read = s::recv(listening.as_raw_fd(), &mut buffer, s::MsgFlags::empty()).ok()?;
                // About a datagram from our port, as we sent it.
                if read >= 56 && buffer[48..50] == own.to_be_bytes() {
                    let from = Ipv4Addr::new(buffer[12], buffer[13], buffer[14], buffer[15]);
                    return Some((from, buffer[20], buffer[21]));
                }
            }
        })
        .unwrap()
}
