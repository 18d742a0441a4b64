//! What a keeper keeps for whoever takes it over after its `up` has ended without a word: descriptors of everything
//! that would otherwise end with `up`, and what ports and instances are to their owner.
//!
//! INVARIANT: nothing here needs to be understood by the keeper, or changes what it does otherwise. What is kept of an
//! instance goes with the instance.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::protocol::{AtStep, Failure, KeeperReply, KeeperRequest, KeptInstance, KeptPort};
use super::sys;

/// How much of what an instance prints is kept while nobody reads it.
const PRINTED_BYTES: usize = 64 * 1024;
/// How many ports are kept.
const MAX_PORTS: usize = 1 << 16;

/// Everything that is kept.
#[derive(Default)]
pub(super) struct Kept {
    instances: BTreeMap<u32, Instance>,
    /// By the names of their host ends, with the network that each leads into where that is nobody's here.
    ports: BTreeMap<String, (KeptPort, Option<OwnedFd>)>,
    fabric: Option<OwnedFd>,
    pins: Option<OwnedFd>,
    /// How often the keeper was taken over.
    pub takeovers: u32,
}

struct Instance {
    name: String,
    /// `up`'s end of the channel to its init process.
    control: OwnedFd,
    network: OwnedFd,
    finished: bool,
    console: Option<Console>,
}

struct Console {
    /// None once nobody prints any more.
    reader: Option<File>,
    printed: VecDeque<u8>,
}

type Reply = Result<(KeeperReply, Vec<OwnedFd>), Failure>;

impl Kept {
    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// The fabric was made.
    pub fn keep_fabric(&mut self, fabric: &OwnedFd) -> Result<(), Failure> {
        self.fabric = Some(fabric.try_clone().at(|| "keeping the fabric".to_owned())?);
        Ok(())
    }

    /// An instance was made.
    pub fn keep_instance(
        &mut self,
        number: u32,
        name: &str,
        control: &OwnedFd,
        network: &OwnedFd,
    ) -> Result<(), Failure> {
        let step = || format!("keeping the instance `{name}`");
        let (control, network) = (control.try_clone().at(step)?, network.try_clone().at(step)?);
        let instance = Instance { name: name.to_owned(), control, network, finished: false, console: None };
        self.instances.insert(number, instance);
        Ok(())
    }

    /// An instance is gone.
    pub fn forget_instance(&mut self, number: u32) {
        self.instances.remove(&number);
    }

    /// Consoles that somebody may print to.
    pub fn consoles(&self) -> Vec<(u32, RawFd)> {
        let reader = |instance: &Instance| Some(instance.console.as_ref()?.reader.as_ref()?.as_raw_fd());
        self.instances.iter().filter_map(|(number, instance)| Some((*number, reader(instance)?))).collect()
    }

    /// Takes what was printed to a console, which has something.
    pub fn read_console(&mut self, number: u32) {
        let Some(instance) = self.instances.get_mut(&number) else { return };
        let Some(console) = &mut instance.console else { return };
        let Some(reader) = &mut console.reader else { return };
        let mut buffer = [0_u8; 8 * 1024];
        match reader.read(&mut buffer) {
            Ok(length @ 1..) => {
                console.printed.extend(buffer.iter().take(length));
                let surplus = console.printed.len().saturating_sub(PRINTED_BYTES);
                console.printed.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => console.reader = None,
        }
    }

    /// Answers what is about things that are kept. None where the request is about something else.
    pub fn answer(&mut self, request: KeeperRequest, mut fds: Vec<OwnedFd>) -> Option<Reply> {
        let done = Ok((KeeperReply::Done, Vec::new()));
        match request {
            KeeperRequest::Pins { anew } => Some(self.pins(anew)),
            KeeperRequest::KeepPort(port) => Some(self.keep_port(port, fds.pop())),
            KeeperRequest::DropPort { name } => {
                self.ports.remove(&name);
                Some(done)
            }
            KeeperRequest::KeepConsole(number) => {
                if let (Some(instance), Some(reader)) = (self.instances.get_mut(&number), fds.pop()) {
                    instance.console =
                        Some(Console { reader: Some(reader.into()), printed: VecDeque::new() });
                }
                Some(done)
            }
            KeeperRequest::Finished(number) => {
                if let Some(instance) = self.instances.get_mut(&number) {
                    instance.finished = true;
                }
                Some(done)
            }
            KeeperRequest::Inventory => Some(Ok((self.inventory(), Vec::new()))),
            KeeperRequest::FetchInstance(number) => Some(self.fetch_instance(number)),
            KeeperRequest::FetchConsole(number) => Some(self.fetch_console(number)),
            KeeperRequest::FetchFabric => Some(fetch(self.fabric.as_ref(), "the fabric")),
            KeeperRequest::FetchGuest { name } => {
                let guest = self.ports.get(&name).and_then(|(_, network)| network.as_ref());
                Some(fetch(guest, &format!("the network behind `{name}`")))
            }
            KeeperRequest::CreateNetwork(_)
            | KeeperRequest::CreateInstance(_)
            | KeeperRequest::DestroyInstance(_)
            | KeeperRequest::Linger { .. }
            | KeeperRequest::Shutdown => None,
        }
    }

    fn pins(&mut self, anew: bool) -> Reply {
        if anew {
            // With the last descriptor goes the file system, and what was pinned in it.
            self.pins = None;
        }
        let step = || "mounting a file system for pinned objects".to_owned();
        let pins = match self.pins.take() {
            Some(pins) => pins,
            None => sys::mount_bpf().at(step)?,
        };
        let copy = pins.try_clone().at(step)?;
        self.pins = Some(pins);
        Ok((KeeperReply::Pins, vec![copy]))
    }

    fn keep_port(&mut self, port: KeptPort, network: Option<OwnedFd>) -> Reply {
        if self.ports.len() >= MAX_PORTS {
            let full = format!("`{MAX_PORTS}` ports are kept already");
            return Err(io::Error::other(full)).at(|| format!("keeping the port `{}`", port.port.name));
        }
        self.ports.insert(port.port.name.clone(), (port, network));
        Ok((KeeperReply::Done, Vec::new()))
    }

    fn inventory(&self) -> KeeperReply {
        let instances = self.instances.iter().map(|(number, instance)| KeptInstance {
            number: *number,
            name: instance.name.clone(),
            finished: instance.finished,
            console: instance.console.is_some(),
        });
        KeeperReply::Inventory {
            instances: instances.collect(),
            ports: self.ports.values().map(|(port, _)| port.clone()).collect(),
            takeovers: self.takeovers,
        }
    }

    fn fetch_instance(&self, number: u32) -> Reply {
        let step = || format!("fetching the instance `{number}`");
        let gone = || io::Error::other("it has ended");
        let instance = self.instances.get(&number).ok_or_else(gone).at(step)?;
        let fds = vec![instance.control.try_clone().at(step)?, instance.network.try_clone().at(step)?];
        Ok((KeeperReply::Instance { number }, fds))
    }

    fn fetch_console(&mut self, number: u32) -> Reply {
        let step = || format!("fetching the console of the instance `{number}`");
        let gone = || io::Error::other("it has none");
        let console = self.instances.get_mut(&number).and_then(|instance| instance.console.as_mut());
        let console = console.ok_or_else(gone).at(step)?;
        let reader = console.reader.as_ref().map(File::try_clone).transpose().at(step)?;
        let printed = std::mem::take(&mut console.printed).into();
        Ok((KeeperReply::Console { printed }, reader.into_iter().map(OwnedFd::from).collect()))
    }
}

fn fetch(kept: Option<&OwnedFd>, what: &str) -> Reply {
    let step = || format!("fetching {what}");
    let kept = kept.ok_or_else(|| io::Error::other("it is not kept")).at(step)?;
    Ok((KeeperReply::Network, vec![kept.try_clone().at(step)?]))
}
