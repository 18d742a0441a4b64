//! The host's own resolvers, for names that are not the region's.
//!
//! INVARIANT: each query goes out from a socket of its own, with a port and a number that nobody can guess, to one
//! server; only that server's answer to that question is taken. Queries under way are bounded, in all and for each VPC,
//! and each is answered in [`PATIENCE`], with a failure where nothing else came.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinDecodable;
use postern_model::VpcId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{timeout, timeout_at};

use crate::further::{Further, Heard};

/// How long one server may take.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long all of them together may: less than the five seconds after which clients ask again.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// Queries under way.
const MOST: usize = 1_024;
/// Those of one VPC, so that none keeps the others from asking.
const MOST_OF_VPC: usize = 256;
/// As many servers as resolv.conf(5) knows.
const MOST_SERVERS: usize = 3;
/// How often the file with the servers is looked at.
const LOOK: Duration = Duration::from_secs(1);
const DNS_PORT: u16 = 53;

/// The host's resolvers.
#[derive(Debug)]
pub struct Upstream {
    /// Where the servers are named; none where they are always the same.
    file: Option<PathBuf>,
    known: Mutex<Known>,
    under_way: Mutex<UnderWay>,
    /// Query numbers come of a secret that nobody outside knows.
    secret: RandomState,
    asked: AtomicU64,
}

/// What the file said when it was last looked at.
#[derive(Debug, Default)]
struct Known {
    servers: Vec<SocketAddr>,
    version: Option<Version>,
    looked: Option<Instant>,
}

/// What tells one version of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    changed: SystemTime,
    bytes: u64,
    inode: u64,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by_vpc: HashMap<VpcId, usize>,
}

/// A place among the queries under way.
#[derive(Debug)]
pub(crate) struct Place {
    upstream: Arc<Upstream>,
    vpc: VpcId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = lock(&self.upstream.under_way);
        under_way.all = under_way.all.saturating_sub(1);
        if let Some(count) = under_way.by_vpc.get_mut(&self.vpc) {
            *count -= 1;
            if *count == 0 {
                under_way.by_vpc.remove(&self.vpc);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in a critical section here panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// The servers that a file in the form of resolv.conf(5) names, as it is at the time of each query.
    pub fn of_file(file: &Path) -> Self {
        let upstream = Self { file: Some(file.to_owned()), ..Self::of_servers(Vec::new()) };
        if upstream.servers().is_empty() {
            tracing::warn!(file = %file.display(), "names no resolver: names outside the region cannot be looked up");
        }
        upstream
    }

    /// These servers, always.
    pub fn of_servers(servers: Vec<SocketAddr>) -> Self {
        Self {
            file: None,
            known: Mutex::new(Known { servers, version: None, looked: None }),
            under_way: Mutex::default(),
            secret: RandomState::new(),
            asked: AtomicU64::new(0),
        }
    }

    /// The servers, in the order in which they are asked.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let mut known = lock(&self.known);
        if let Some(file) = &self.file
            && known.looked.is_none_or(|looked| looked.elapsed() >= LOOK)
        {
            known.looked = Some(Instant::now());
            let version = version(file);
            if version.is_none() || version != known.version {
                // A file that cannot be read names nobody, until it can be.
                known.servers = fs::read_to_string(file).map(|text| name_servers(&text)).unwrap_or_default();
                known.version = version;
            }
        }
        known.servers.clone()
    }

    /// A place among the queries under way, if there is one for this VPC.
    pub(crate) fn place(self: &Arc<Self>, vpc: VpcId) -> Option<Place> {
        let mut under_way = lock(&self.under_way);
        let own = under_way.by_vpc.get(&vpc).copied().unwrap_or(0);
        if under_way.all >= MOST || own >= MOST_OF_VPC {
            return None;
        }
        under_way.all += 1;
        under_way.by_vpc.insert(vpc, own + 1);
        Some(Place { upstream: Arc::clone(self), vpc })
    }

    /// The IPv4 addresses of a name, as an instance of a VPC would be told them.
    pub async fn addresses(self: &Arc<Self>, vpc: VpcId, name: &str) -> Option<Vec<Ipv4Addr>> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let mut query = Message::query();
        query.add_query(Query::query(name, RecordType::A));
        let further = Further { query, room: u16::MAX };
        let _place = self.place(vpc)?;
        let reply = further.reply(self.ask(&further).await?)?;
        let answers = Message::from_bytes(&reply).ok()?.answers;
        let addresses = answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        Some(addresses.collect())
    }

    /// What the TXT records of a name say, each as one text; none where no server could tell. A name that is not there
    /// says nothing.
    pub async fn texts(&self, name: &str) -> Option<Vec<String>> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let mut query = Message::query();
        query.add_query(Query::query(name, RecordType::TXT));
        let further = Further { query, room: u16::MAX };
        let heard = self.ask(&further).await?;
        if !matches!(heard.code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return None;
        }
        let answers = Message::from_bytes(&further.reply(heard)?).ok()?.answers;
        let texts = answers.iter().filter_map(|record| match &record.data {
            RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok(),
            _ => None,
        });
        Some(texts.collect())
    }

    /// Asks one server after the other; none where none of them gave an answer that is one.
    pub(crate) async fn ask(&self, further: &Further) -> Option<Heard> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut refusal = None;
        for server in self.servers() {
            match timeout_at(deadline, timeout(SERVER_PATIENCE, self.ask_one(server, further))).await {
                // As the C library does, the next one is asked where one cannot tell (`res_send`).
                Ok(Ok(Ok(heard))) if is_refusal(heard.code) => refusal = Some(heard),
                Ok(Ok(Ok(heard))) => return Some(heard),
                Ok(Ok(Err(error))) => {
                    tracing::debug!(%server, %error, "a resolver of the host's cannot be asked")
                }
                Ok(Err(_)) => tracing::debug!(%server, "a resolver of the host's does not answer"),
                Err(_) => break,
            }
        }
        refusal
    }

    async fn ask_one(&self, server: SocketAddr, further: &Further) -> io::Result<Heard> {
        let number = self.number();
        let request = further.request(number).ok_or(io::ErrorKind::InvalidInput)?;
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // Nobody else's packets come in from here on.
        socket.connect(server).await?;
        socket.send(&request).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match further.heard(number, buffer.get(..length).unwrap_or_default()) {
                Some(heard) if heard.truncated => return self.ask_by_tcp(server, further).await,
                Some(heard) => return Ok(heard),
                // Somebody guesses; the answer may still come.
                None => {}
            }
        }
    }

    async fn ask_by_tcp(&self, server: SocketAddr, further: &Further) -> io::Result<Heard> {
        let number = self.number();
        let request = further.request(number).ok_or(io::ErrorKind::InvalidInput)?;
        let length = u16::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes(), request.as_slice()].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        further.heard(number, &answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A query's number: the next of a sequence that depends on a secret.
    fn number(&self) -> u16 {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        // Any sixteen bits of it are as good as any others.
        self.secret.hash_one(asked) as u16
    }
}

/// Whether a server says that it cannot tell.
fn is_refusal(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

fn version(file: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(file).ok()?;
    Some(Version { changed: found.modified().ok()?, bytes: found.len(), inode: found.ino() })
}

/// The servers that a text in the form of resolv.conf(5) names. Link-local ones, whose link is part of them, are left
/// out: a line says which only by a name.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = lines.filter_map(|word| word.parse::<IpAddr>().ok());
    addresses.take(MOST_SERVERS).map(|address| SocketAddr::new(address, DNS_PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_reads_them() {
        let text = "# none\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # the second\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let found: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
    }

    #[test]
    fn a_vpc_has_its_share_of_places_and_no_more() {
        let upstream = Arc::new(Upstream::of_file(Path::new("/nonexistent/resolv.conf")));
        let (one, other) = (VpcId::from_number(1), VpcId::from_number(2));
        let mut places: Vec<_> = (0..MOST_OF_VPC).map(|_| upstream.place(one).unwrap()).collect();
        assert!(upstream.place(one).is_none());
        assert!(upstream.place(other).is_some(), "another VPC still asks");
        places.pop();
        assert!(upstream.place(one).is_some());
        drop(places);
        let left = lock(&upstream.under_way);
        assert_eq!((left.all, left.by_vpc.len()), (0, 0));
    }
}
