//! Descriptors beside bytes over a unix socket, for the program's own control socket and for the channels between
//! `up`, its keeper and the instances.
//!
//! A *frame* on a stream socket is a little-endian `u32` length and that many bytes; its descriptors travel with
//! the length. INVARIANT: a frame is at most [`MAX_FRAME_BYTES`] and carries at most [`MAX_FDS`] descriptors, and a
//! peer that breaks this gets an error, never memory.
#![expect(unsafe_code, reason = "descriptors arrive as numbers and are owned from there")]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// How many bytes a frame may have.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// How many descriptors a frame may carry.
pub const MAX_FDS: usize = 8;

/// Sends one frame with descriptors. The socket must be blocking.
pub fn send(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= MAX_FRAME_BYTES && fds.len() <= MAX_FDS)
        .ok_or_else(|| {
            invalid(format!(
                "a frame of `{}` bytes and `{}` descriptors is too large",
                bytes.len(),
                fds.len()
            ))
        })?;
    let head = length.to_le_bytes();
    let sent = send_packet(socket.as_raw_fd(), &[IoSlice::new(&head)], fds)?;
    // A short write of four bytes loses no descriptor: they went with the first byte.
    (&*socket).write_all(&head[sent..])?;
    (&*socket).write_all(bytes)
}

/// Receives one frame and its descriptors; `None` at the end of the stream.
pub fn recv(socket: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut head = [0_u8; 4];
    let (got, fds) = recv_packet(socket.as_raw_fd(), &mut head)?;
    if got == 0 {
        return Ok(None);
    }
    (&*socket).read_exact(&mut head[got..])?;
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(io::Error::other)?;
    if length > MAX_FRAME_BYTES {
        return Err(invalid(format!("a frame of `{length}` bytes is too large")));
    }
    let mut bytes = vec![0; length];
    (&*socket).read_exact(&mut bytes)?;
    Ok(Some((bytes, fds)))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// One `sendmsg`, repeated when interrupted. Returns how many bytes went out.
pub(crate) fn send_packet(socket: RawFd, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    loop {
        match sendmsg::<UnixAddr>(socket, parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => return Ok(sent),
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One `recvmsg`, repeated when interrupted. Returns how many bytes came (0 at the end) and the descriptors.
pub(crate) fn recv_packet(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    loop {
        let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            match recvmsg::<UnixAddr>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
                Ok(message) => message,
                Err(nix::Error::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                // SAFETY: the kernel has just made these descriptors for us.
                fds.extend(numbers.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) }));
            }
        }
        let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
        if message.flags.intersects(cut) {
            return Err(invalid("a message was cut short".to_owned()));
        }
        return Ok((message.bytes, fds));
    }
}
