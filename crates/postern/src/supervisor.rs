//! What a supervisor that started this process, systemd for one, is told of it: `sd_notify`(3).
//!
//! The protocol is one datagram to the socket that `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::{Context, bail};

/// Something that a supervisor wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Everything is ready.
    Ready,
    /// It is being taken down.
    Stopping,
}

impl News {
    fn message(self) -> &'static str {
        match self {
            Self::Ready => "READY=1\nSTATUS=The region is ready\n",
            Self::Stopping => "STOPPING=1\nSTATUS=The region is taken down\n",
        }
    }
}

/// Tells the supervisor, if there is one that wants to know.
pub fn tell(news: News) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&socket, news) {
        // A region that is there serves, whoever knows of it.
        tracing::warn!(error = crate::said::said(&error), "the supervisor could not be told");
    }
}

fn send(socket: &OsStr, news: News) -> anyhow::Result<()> {
    let name = socket.as_bytes();
    let address = match name.first() {
        Some(b'/') => SocketAddr::from_pathname(socket),
        Some(b'@') => SocketAddr::from_abstract_name(&name[1..]),
        Some(_) | None => bail!("NOTIFY_SOCKET: `{}` is neither a path nor `@NAME`", socket.display()),
    };
    let told = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(news.message().as_bytes(), &to));
    told.with_context(|| format!("NOTIFY_SOCKET: `{}`", socket.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), News::Ready).unwrap();
        assert!(heard(&socket).lines().any(|line| line == "READY=1"));

        let name = format!("@postern-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&name), News::Stopping).unwrap();
        assert!(heard(&socket).lines().any(|line| line == "STOPPING=1"));
    }

    #[test]
    fn what_cannot_be_told_says_where() {
        for nowhere in ["/no/such/socket", "@postern-test-nobody", "vsock:2:1"] {
            let error = send(OsStr::new(nowhere), News::Ready).unwrap_err();
            assert!(error.to_string().contains(nowhere), "{error}");
        }
    }
}
