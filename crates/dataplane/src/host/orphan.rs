//! A keeper that lingers without an `up`, from the side of whoever finds it: to look, to end it, or to take it over.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

use super::instance::Instance;
use super::keeper::Privilege;
use super::port::{Port, PortMaker};
use super::protocol::{
    Answer, Call, Channel, KeeperReply, KeeperRequest, KeptInstance, NetworkKind, VERSION, Wish,
};
use super::start::{HostError, network};
use super::sys;
use super::turn::Turns;
use super::{Host, KEEPER_PATIENCE, KeeperProcess, Lease, Namespace, Refusal, ask};

/// How long an `up` that was killed may take to be gone.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);
/// How long a keeper may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A keeper that lingers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lingering {
    /// Its process.
    pub process: i32,
    /// For how much longer.
    pub left: Duration,
    /// How many instances it keeps.
    pub instances: usize,
}

/// What became of a keeper that was to be taken over.
#[derive(Debug)]
pub enum Orphan {
    /// There was none.
    None,
    /// It is ours now, with what it kept.
    Taken(Box<Host>),
    /// It could not be taken over, and has ended with all that it kept.
    Ended(String),
    /// It belongs to a region that runs, whoever that is: this process of the keeper's.
    Anothers(i32),
}

/// Why a keeper is not ours.
enum NotOurs {
    /// It cannot be.
    Unfit(String),
    /// It is part of a region that runs.
    Busy,
}

/// What a keeper kept, for its new owner.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Instances that are as they should be. They are the host's, as if it had made them.
    pub instances: Vec<InheritedInstance>,
    /// Ports, each with what its owner called it.
    pub ports: Vec<InheritedPort>,
}

/// An instance that was kept.
#[derive(Debug)]
pub struct InheritedInstance {
    /// The instance.
    pub instance: Arc<Instance>,
    /// Its console, if it had one: what was printed while nobody listened, and where the rest comes, if any can.
    pub console: Option<(Vec<u8>, Option<OwnedFd>)>,
}

/// A port that was kept.
#[derive(Debug, Clone)]
pub struct InheritedPort {
    /// What it is to its owner.
    pub label: String,
    /// Its two ends.
    pub port: Port,
    /// Where it leads.
    pub into: Into,
}

/// Where a port leads.
#[derive(Debug, Clone)]
pub enum Into {
    /// Into an instance of this name.
    Instance(String),
    /// Into a network of somebody else's.
    Guest(Namespace),
}

/// The keeper that lingers and is found by this socket, if there is one.
#[must_use]
pub fn look(socket: &Path) -> Option<Lingering> {
    let caller = Caller::find(socket).ok()??;
    match caller.ask(Wish::Look) {
        Ok(Answer::Lingers { version: _, milliseconds, instances }) => {
            let left = Duration::from_millis(milliseconds);
            Some(Lingering { process: caller.process, left, instances })
        }
        Ok(Answer::Busy | Answer::Taken | Answer::Ends) | Err(_) => None,
    }
}

/// Ends the keeper that lingers and is found by this socket, with all that it keeps. False where there is none.
pub fn end(socket: &Path) -> io::Result<bool> {
    let Some(caller) = Caller::find(socket)? else { return Ok(false) };
    caller.end()?;
    Ok(true)
}

/// Takes over the keeper that lingers and is found by this socket. One that cannot be taken over is ended.
///
/// To be called by whoever has the state directory to itself: a keeper whose `up` is not quite gone is waited for.
pub fn take_over(socket: &Path) -> Orphan {
    let caller = match Caller::find(socket) {
        Ok(Some(caller)) => caller,
        Ok(None) => return Orphan::None,
        Err(error) => return Orphan::Ended(format!("it does not listen: {error}")),
    };
    let process = caller.process;
    let pidfd = match sys::open_process(process) {
        Ok(pidfd) => pidfd,
        Err(error) => return Orphan::Ended(format!("its process cannot be followed: {error}")),
    };
    let reason = match caller.become_up() {
        Ok(lease) => match adopt(lease, KeeperProcess::Adopted(pidfd), socket) {
            Ok(host) => return Orphan::Taken(Box::new(host)),
            Err(error) => error.to_string(),
        },
        Err(NotOurs::Unfit(reason)) => reason,
        Err(NotOurs::Busy) => return Orphan::Anothers(process),
    };
    let ended = Caller::find(socket).and_then(|caller| caller.map_or(Ok(()), Caller::end));
    match ended.or_else(|_| sys::kill(process, libc::SIGKILL)) {
        Ok(()) => Orphan::Ended(reason),
        Err(error) => Orphan::Ended(format!("{reason}; and it does not end: {error}")),
    }
}

/// A connection to a keeper.
struct Caller {
    channel: Channel<Answer, Call>,
    process: libc::pid_t,
}

impl Caller {
    /// None where nobody listens.
    fn find(path: &Path) -> io::Result<Option<Self>> {
        let address = UnixAddr::new(path)?;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let process = getsockopt(&socket, PeerCredentials)?.pid();
        let channel = Channel::new(socket);
        channel.set_patience(KEEPER_PATIENCE)?;
        Ok(Some(Self { channel, process }))
    }

    fn ask(&self, wish: Wish) -> io::Result<Answer> {
        self.channel.send(&Call { version: VERSION, wish }, &[])?;
        match self.channel.receive()? {
            Some((answer, _)) => Ok(answer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Gives the lease; else why not.
    fn become_up(mut self) -> Result<Lease, NotOurs> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let path = nix::sys::socket::getpeername::<UnixAddr>(self.channel.as_raw_fd());
        let path = path.ok().and_then(|address| address.path().map(Path::to_owned));
        loop {
            let unfit = |why: &str| NotOurs::Unfit(why.to_owned());
            let answer = self.ask(Wish::TakeOver);
            match answer.map_err(|error| NotOurs::Unfit(format!("it does not answer: {error}")))? {
                Answer::Taken => return Ok(Lease::new(self.channel.into_socket())),
                Answer::Lingers { version, .. } => {
                    let why = format!("it speaks version `{version}`, and this program `{VERSION}`");
                    return Err(NotOurs::Unfit(why));
                }
                Answer::Ends => return Err(unfit("it was ending")),
                Answer::Busy if Instant::now() > deadline => return Err(NotOurs::Busy),
                Answer::Busy => std::thread::sleep(Duration::from_millis(20)),
            }
            let again = path.as_deref().and_then(|path| Self::find(path).ok().flatten());
            self = again.ok_or_else(|| unfit("it has ended"))?;
        }
    }

    fn end(self) -> io::Result<()> {
        let process = sys::open_process(self.process)?;
        match self.ask(Wish::End)? {
            Answer::Ends => {}
            Answer::Busy | Answer::Taken | Answer::Lingers { .. } => {
                return Err(io::Error::other("there is a region that it is part of"));
            }
        }
        let milliseconds = i32::try_from(END_PATIENCE.as_millis()).unwrap_or(i32::MAX);
        match sys::wait_readable([process.as_raw_fd()], milliseconds)? {
            [true] => Ok(()),
            [false] => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Makes a host of what a keeper keeps.
fn adopt(lease: Lease, keeper: KeeperProcess, socket: &Path) -> Result<Host, HostError> {
    lease.set_patience(KEEPER_PATIENCE).map_err(HostError::Keeper)?;
    let KeeperReply::Inventory { instances, ports, takeovers } = asked(&lease, KeeperRequest::Inventory)?.0
    else {
        return Err(HostError::KeeperGone);
    };
    let fabric = one(asked(&lease, KeeperRequest::FetchFabric)?)?;
    let fabric = Namespace::from_fd(fabric, "fabric");
    let doors = network(&lease, NetworkKind::Doors, "doors")?;
    let maker = PortMaker::new(fabric.clone())?;

    let (finished, half) = instances.into_iter().partition::<Vec<_>, _>(|instance| instance.finished);
    for instance in half {
        tracing::warn!(instance = instance.name, "it was not finished, and is made anew");
        asked(&lease, KeeperRequest::DestroyInstance(instance.number))?;
    }
    let mut inheritance = Inheritance::default();
    for kept in finished {
        let name = kept.name.clone();
        match inherit(&lease, kept, takeovers) {
            Ok(inherited) => inheritance.instances.push(inherited),
            // It ended just now.
            Err(error) => tracing::warn!(%error, instance = name, "an instance that was kept is gone"),
        }
    }
    let names: Vec<&str> = inheritance.instances.iter().map(|x| x.instance.name()).collect();
    for kept in ports {
        let into = match kept.instance {
            Some(name) if names.contains(&name.as_str()) => Into::Instance(name),
            Some(_) => continue,
            None => {
                let network = asked(&lease, KeeperRequest::FetchGuest { name: kept.port.name.clone() })?;
                Into::Guest(Namespace::from_fd(one(network)?, "guest"))
            }
        };
        inheritance.ports.push(InheritedPort { label: kept.label, port: kept.port, into });
    }
    maker.go_on(inheritance.ports.iter().map(|inherited| &inherited.port))?;
    let by_name = |x: &InheritedInstance| (x.instance.name().to_owned(), Arc::clone(&x.instance));
    let instances: BTreeMap<_, _> = inheritance.instances.iter().map(by_name).collect();
    Ok(Host {
        // Only under root a keeper lingers.
        privilege: Privilege::Root,
        keeper,
        lease: Mutex::new(Some(Arc::new(lease))),
        turns: Turns::default(),
        fabric,
        doors,
        ports: maker,
        instances: Mutex::new(instances),
        making: Mutex::default(),
        lingers_at: OnceLock::from(socket.to_owned()),
        inheritance: Mutex::new(Some(inheritance)),
        // Until this `up` is ready, the keeper stays an orphan that the next one may take over.
        owned: AtomicBool::new(false),
    })
}

fn inherit(lease: &Lease, kept: KeptInstance, takeovers: u32) -> Result<InheritedInstance, HostError> {
    let gone = || HostError::KeeperGone;
    let (_, fds) = asked(lease, KeeperRequest::FetchInstance(kept.number))?;
    let [control, network] = <[_; 2]>::try_from(fds).map_err(|_| gone())?;
    let network = Namespace::from_fd(network, &kept.name);
    let instance = Instance::go_on(&kept.name, kept.number, control, network, takeovers);
    let instance = Arc::new(instance.map_err(HostError::Keeper)?);
    let console = if kept.console {
        match asked(lease, KeeperRequest::FetchConsole(kept.number))? {
            (KeeperReply::Console { printed }, fds) => Some((printed, fds.into_iter().next())),
            (_, _) => return Err(gone()),
        }
    } else {
        None
    };
    Ok(InheritedInstance { instance, console })
}

type Reply = (KeeperReply, Vec<OwnedFd>);

fn asked(lease: &Lease, request: KeeperRequest) -> Result<Reply, HostError> {
    ask(lease, &request, &[]).map_err(|refusal| match refusal {
        Refusal::Gone => HostError::KeeperGone,
        Refusal::Failed(failure) => HostError::Setup(failure.to_string()),
    })
}

fn one((_, fds): Reply) -> Result<OwnedFd, HostError> {
    fds.into_iter().next().ok_or(HostError::KeeperGone)
}
