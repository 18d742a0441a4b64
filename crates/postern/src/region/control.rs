//! What the region answers on its control socket.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use postern_dataplane::host::{Child, Instance, ProgramSpec, SpawnError, Stdio, WindowSize};
use postern_frontdoor::{Caller as DoorCaller, Origin};
use postern_model::iam::{KeyOwner, Secret};
use postern_model::{AccountId, Action, InstanceId, VpcId};
use postern_path::{NameSource, Resolution};
use postern_services::commands::Commands;
use postern_services::directory::session::{new_key_id, new_secret};

use super::attach::{Guest, attach};
use super::attach_vpn::{attach_vpn, host_on_premises};
use super::command::RegionCommands;
use super::{Packets, Region, execute, judge, trace};
use crate::cli::Protocol;
use crate::control::server::{Caller, Controlled};
use crate::control::{
    AccountInfo, KeyInfo, Reply, Request, SimulateRequest, Status, TraceRequest, Wanted, exit_code,
};

/// How long a program whose caller has gone has to end by itself.
const CALLER_GRACE: Duration = Duration::from_secs(2);

/// The region behind its socket. It does not keep the region alive.
struct Control {
    region: Weak<Region>,
    runtime: tokio::runtime::Handle,
}

/// What listens on the control socket.
pub fn controlled(region: &Arc<Region>) -> Arc<impl Controlled> {
    Arc::new(Control { region: Arc::downgrade(region), runtime: tokio::runtime::Handle::current() })
}

impl Controlled for Control {
    fn answer(&self, request: Request, fds: Vec<OwnedFd>, caller: &Caller) -> anyhow::Result<Reply> {
        let region = self.region.upgrade().context("the region is ending")?;
        let commands = &region.commands;
        match request {
            Request::Status => Ok(Reply::Status(region.status())),
            Request::Down => {
                // Answered first: where there is little to take down, the process is gone in no time.
                caller.send(&Reply::Done, &[])?;
                region.stop.send_replace(true);
                Ok(Reply::Done)
            }
            Request::Reset => {
                if !region.options.dev && !region.options.ephemeral {
                    bail!("only a region that was started with --dev or --ephemeral can be reset");
                }
                self.runtime.block_on(region.reset())?;
                Ok(Reply::Done)
            }
            Request::Exec { instance, argv, terminal } => {
                let sandbox = self.sandbox(&region, &instance)?;
                self.exec(&sandbox, argv, terminal, fds, caller)
            }
            Request::Trace(request) => region.trace(&self.runtime, &request).map(Reply::Trace),
            Request::Simulate(request) => region.simulate(&self.runtime, request).map(Reply::Judgement),
            Request::Why { request_id } => region.why(&request_id).map(Reply::Judgement),
            Request::Flows { follow } => super::flows::send(&region, follow, caller),
            Request::CreateAccount { name, id } => {
                let id = id.map(|id| id.parse::<AccountId>()).transpose()?;
                self.runtime.block_on(create_account(commands, name, id)).map(Reply::Key)
            }
            Request::ListAccounts => Ok(Reply::Accounts(region.accounts())),
            Request::CreateRootKey { account } => {
                let account = account.parse::<AccountId>()?;
                let key = new_key(account)?;
                let action = Action::CreateRootKey {
                    id: key.access_key_id.clone(),
                    secret: Secret(key.secret_access_key.clone()),
                };
                self.runtime.block_on(execute(commands, account, action))?;
                Ok(Reply::Key(key))
            }
            Request::Quotas { account, change } => {
                self.runtime.block_on(super::quotas::quotas(commands, &account, change)).map(Reply::Quotas)
            }
            Request::AddService(new) => {
                let added = super::services::add(commands, &region.upstreams, &region.run, new);
                self.runtime.block_on(added).map(Reply::Services)
            }
            Request::ListServices => {
                Ok(Reply::Services(super::services::list(&commands.state(), &region.upstreams)))
            }
            Request::RemoveService { name } => {
                self.runtime.block_on(super::services::remove(commands, &name))?;
                Ok(Reply::Done)
            }
            Request::Environment { account } => {
                region.environment(account.as_deref()).map(Reply::Environment)
            }
            Request::Records { after } => Ok(Reply::Records(region.recorder.after(after))),
            Request::Attach { tap, subnet, groups, interface_name } => {
                let guest = Guest::find(tap, &interface_name, fds)?;
                self.runtime.block_on(attach(&region, guest, &subnet, &groups))
            }
            Request::AttachVpn { tap, connection, addresses, interface_name } => {
                let guest = Guest::find(tap, &interface_name, fds)?;
                self.runtime.block_on(attach_vpn(&region, guest, &connection, &addresses))
            }
            Request::Backup => {
                let file = fds.into_iter().next().context("no file came with the request")?;
                let file = std::fs::File::from(file);
                super::backup::write(commands.ledger(), &region.s3, &region.tables, &file)?;
                Ok(Reply::Done)
            }
        }
    }
}

impl Control {
    /// The sandbox of an instance, or of the host on premises at the end of a VPN.
    fn sandbox(&self, region: &Region, name: &str) -> anyhow::Result<Arc<Instance>> {
        if name.starts_with("vpn-") {
            return self.runtime.block_on(host_on_premises(region, name));
        }
        let id = name.parse().with_context(|| format!("`{name}` is not an instance"))?;
        region.packets()?.machines.sandbox(id).with_context(|| format!("`{name}` does not run"))
    }

    /// Runs a program and passes its end on. If the caller goes, the program is told to end.
    fn exec(
        &self,
        sandbox: &Instance,
        argv: Vec<String>,
        terminal: Option<(u16, u16)>,
        fds: Vec<OwnedFd>,
        caller: &Caller,
    ) -> anyhow::Result<Reply> {
        let [stdin, stdout, stderr]: [OwnedFd; 3] =
            fds.try_into().ok().context("three descriptors come with the request")?;
        let stdio = match terminal {
            Some((rows, columns)) => Stdio::Terminal(WindowSize { rows, columns }),
            None => Stdio::Descriptors([stdin, stdout, stderr]),
        };
        let mut program = ProgramSpec::new(argv);
        if terminal.is_some() {
            program.environment.push(("TERM".to_owned(), "xterm-256color".to_owned()));
        }
        let mut child = match sandbox.spawn(&program, stdio) {
            Ok(child) => child,
            Err(error) => return Ok(Reply::NotStarted { code: code_of(&error), reason: error.to_string() }),
        };
        let master: Vec<OwnedFd> = child.terminal.take().into_iter().collect();
        if let Err(error) = caller.send(&Reply::Started, &master) {
            // A program that nobody heard of must not stay either.
            child.stop(CALLER_GRACE)?;
            return Err(error);
        }
        drop(master);
        let status = self.runtime.block_on(wait(&mut child, caller))?;
        Ok(Reply::Exited(status))
    }
}

/// What a caller of a program that could not be started ends with, as `env` and `docker exec` do.
/// <https://www.gnu.org/software/coreutils/manual/html_node/env-invocation.html>
fn code_of(error: &SpawnError) -> u8 {
    match error {
        SpawnError::NotFound { .. } => exit_code::NOT_FOUND,
        SpawnError::NotExecutable { .. } => exit_code::NOT_EXECUTABLE,
        SpawnError::NoInstance(_)
        | SpawnError::Spec(_)
        | SpawnError::Failed { .. }
        | SpawnError::Ended(_) => exit_code::POSTERN_FAILED,
    }
}

/// Waits for a program, or until its caller has gone.
async fn wait(child: &mut Child, caller: &Caller) -> anyhow::Result<u8> {
    let socket = caller.socket().try_clone()?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(socket)?;
    let status = tokio::select! {
        status = child.wait() => Some(status),
        // A caller that waits for an end sends nothing, so the socket becomes readable when it closes.
        _ = socket.readable() => None,
    };
    // The descriptor shares its mode with the caller's blocking one.
    caller.socket().set_nonblocking(false)?;
    match status {
        Some(status) => Ok(status.shell_code()),
        None => {
            child.stop(CALLER_GRACE)?;
            bail!("the caller has gone")
        }
    }
}

fn new_key(account: AccountId) -> anyhow::Result<KeyInfo> {
    Ok(KeyInfo {
        account: account.to_string(),
        access_key_id: new_key_id("AKIA")?,
        secret_access_key: new_secret()?,
    })
}

/// Makes an account with a key for its root user.
pub async fn create_account(
    commands: &RegionCommands,
    name: String,
    id: Option<AccountId>,
) -> anyhow::Result<KeyInfo> {
    let account = match id {
        Some(id) => id,
        None => free_account(commands)?,
    };
    let key = new_key(account)?;
    let root_key = Some((key.access_key_id.clone(), Secret(key.secret_access_key.clone())));
    execute(commands, account, Action::CreateAccount { name, root_key }).await?;
    Ok(key)
}

/// Twelve digits that no account has and that do not begin with a zero.
fn free_account(commands: &RegionCommands) -> anyhow::Result<AccountId> {
    let state = commands.state();
    for _ in 0..64 {
        // Keys are drawn from the system's random numbers; their letters give the digits.
        let drawn =
            new_secret()?.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()));
        let candidate = AccountId::from_number(100_000_000_000 + drawn % 900_000_000_000);
        if let Some(account) = candidate.filter(|account| !state.accounts.contains_key(account)) {
            return Ok(account);
        }
    }
    bail!("no free account number was found")
}

impl Region {
    pub(super) fn packets(&self) -> anyhow::Result<&Packets> {
        self.packets
            .as_ref()
            .map_err(|reason| anyhow::anyhow!("no packets move here, and no programs run: {reason}"))
    }

    fn status(&self) -> Status {
        let state = self.commands.state();
        let counts = [
            ("accounts", state.accounts.len()),
            ("vpcs", state.vpcs.len()),
            ("endpoints", state.live_endpoint_count()),
            ("instances", state.instances.len()),
            ("interfaces", state.network_interfaces.len()),
        ];
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            run: self.run.clone(),
            region: self.options.region.name.clone(),
            url: self.url(),
            revision: state.revision,
            packets: self.packets_in_words(),
            uplink: self.uplink_in_words().map(str::to_owned),
            linger: self.lingers(),
            counts: counts.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
        }
    }

    fn accounts(&self) -> Vec<AccountInfo> {
        let state = self.commands.state();
        let info = |account: &Arc<postern_model::account::Account>| {
            let keys = state.iam.get(&account.id).into_iter().flat_map(|iam| iam.access_keys.values());
            let root = keys.filter(|key| key.owner == KeyOwner::Root).map(|key| key.id.clone());
            AccountInfo { id: account.id.to_string(), name: account.name.clone(), keys: root.collect() }
        };
        state.accounts.values().map(info).collect()
    }

    fn environment(&self, account: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
        let state = self.commands.state();
        let account = match account {
            Some(account) => account.parse::<AccountId>()?,
            None => {
                let first = state.accounts.values().min_by_key(|account| (account.created_at, account.id));
                first.context("there is no account")?.id
            }
        };
        let iam = state.iam.get(&account).with_context(|| format!("there is no account `{account}`"))?;
        let mut keys = iam.access_keys.values();
        let key = keys.find(|key| key.owner == KeyOwner::Root && key.active);
        let key = key.with_context(|| {
            format!("the root user of `{account}` has no key: postern account key {account}")
        })?;
        let variable = |name: &str, value: String| (name.to_owned(), value);
        Ok(vec![
            variable("AWS_ENDPOINT_URL", self.url()),
            variable("AWS_DEFAULT_REGION", self.options.region.name.clone()),
            variable("AWS_REGION", self.options.region.name.clone()),
            variable("AWS_ACCESS_KEY_ID", key.id.clone()),
            variable("AWS_SECRET_ACCESS_KEY", key.secret.clone()),
            variable("AWS_CA_BUNDLE", self.options.state_dir.ca_bundle().display().to_string()),
        ])
    }

    /// What the host's resolvers say of a name.
    fn look_up(&self, runtime: &tokio::runtime::Handle, vpc: VpcId, name: &str) -> Resolution {
        let Some(way) = &self.uplink else { return Resolution::Unknown };
        match runtime.block_on(way.resolvers.addresses(vpc, name)) {
            Some(addresses) if !addresses.is_empty() => {
                Resolution::Addresses { addresses, source: NameSource::Outside }
            }
            Some(_) | None => Resolution::Elsewhere,
        }
    }

    fn trace(
        &self,
        runtime: &tokio::runtime::Handle,
        request: &TraceRequest,
    ) -> anyhow::Result<serde_json::Value> {
        let planned = self.planner.current();
        let to = match (&request.to, &request.wanted) {
            (Some(to), _) => to.clone(),
            (None, Some(wanted)) => format!("{}:443", judge::host_of(&planned.state, &wanted.action)?),
            (None, None) => bail!("--to says where to"),
        };
        let look_up = |vpc, name: &str| self.look_up(runtime, vpc, name);
        let (explanation, flow) = trace::trace(&planned, &request.from, &to, request.protocol, look_up)?;
        let probe = match flow.filter(|_| request.probe) {
            None => None,
            Some(flow) => {
                let network = self.packets()?.machines.network_of(flow.entry);
                let network =
                    network.with_context(|| format!("`{}` is plugged into nothing that runs", flow.entry))?;
                let forwarder = &self.packets()?.forwarder;
                let drops = || {
                    let counters = forwarder.counters().wait()?;
                    let port = counters.interface(flow.entry).context("the interface has no port")?;
                    Ok(port.counters.drops)
                };
                Some(trace::probe(&network, &flow, &explanation, drops)?)
            }
        };
        let mut text = trace::text(&explanation, probe.as_ref());
        let judgement = match &request.wanted {
            None => None,
            Some(wanted) => {
                let origin = flow.and_then(|flow| judge::origin_of(&planned.plan.decide(&flow)));
                let Some(origin) = origin else {
                    text.push_str("=> no service is reached, so no policy is asked\n");
                    let mut value = serde_json::to_value(trace::Trace { explanation, probe })?;
                    with_text(&mut value, &text);
                    return Ok(value);
                };
                let caller = self.caller(wanted, Some(&request.from))?;
                Some(self.judge(&caller, &origin, wanted)?)
            }
        };
        let mut value = serde_json::to_value(trace::Trace { explanation, probe })?;
        if let (Some(judgement), Some(object)) = (&judgement, value.as_object_mut()) {
            text.push_str(&judgement.text());
            object.insert("request".to_owned(), serde_json::to_value(judgement)?);
        }
        with_text(&mut value, &text);
        Ok(value)
    }

    fn simulate(
        &self,
        runtime: &tokio::runtime::Handle,
        request: SimulateRequest,
    ) -> anyhow::Result<serde_json::Value> {
        let SimulateRequest { wanted, from, to } = request;
        let origin = match &from {
            None => judge::outside(),
            Some(from) => {
                let planned = self.planner.current();
                let to = match to {
                    Some(to) => to,
                    None => format!("{}:443", judge::host_of(&planned.state, &wanted.action)?),
                };
                let look_up = |vpc, name: &str| self.look_up(runtime, vpc, name);
                let (_, flow) = trace::trace(&planned, from, &to, Protocol::Tcp, look_up)?;
                let decision = flow.map(|flow| planned.plan.decide(&flow));
                let origin = decision.as_ref().and_then(judge::origin_of);
                origin.with_context(|| {
                    format!("nothing from `{from}` reaches a service at `{to}`: `postern trace` says why")
                })?
            }
        };
        let caller = self.caller(&wanted, from.as_deref())?;
        shown(&self.judge(&caller, &origin, &wanted)?)
    }

    fn judge(
        &self,
        caller: &DoorCaller,
        origin: &Origin,
        wanted: &Wanted,
    ) -> anyhow::Result<judge::Judgement> {
        let Wanted { action, resource, context, .. } = wanted;
        let supposed = judge::Supposed { caller, origin, action, resource, context };
        let state = self.commands.state();
        Ok(judge::judge(&judge::suppose(&self.authoriser, &state, &self.s3, &supposed)?))
    }

    /// Who would ask: who was named, or whom the programs of the instance are.
    fn caller(&self, wanted: &Wanted, from: Option<&str>) -> anyhow::Result<DoorCaller> {
        if let Some(arn) = &wanted.principal {
            return self.directory.caller_of(arn).map_err(anyhow::Error::msg);
        }
        let from = from.context("--principal says who asks, or --from an instance with a role")?;
        let state = self.commands.state();
        let instance = from.parse::<InstanceId>().ok().and_then(|id| state.instances.get(&id).cloned());
        let caller = instance.and_then(|instance| self.directory.caller_on(&instance));
        caller.with_context(|| format!("`{from}` is no instance with a role: --principal says who asks"))
    }

    fn why(&self, request_id: &str) -> anyhow::Result<serde_json::Value> {
        let record = self.recorder.find(request_id);
        let Some(evidence) = self.authoriser.recall(request_id) else {
            match record {
                Some(record) => bail!(
                    "`{request_id}` was {} {}, and nothing is known any more of what was decided: that is kept of the \
                     last {} requests since the start that came as far as policies",
                    record["eventSource"].as_str().unwrap_or_default(),
                    record["eventName"].as_str().unwrap_or_default(),
                    postern_frontdoor::evidence::REQUESTS_KEPT
                ),
                None => bail!("there is no request `{request_id}` among those that were recorded"),
            }
        };
        let judgements: Vec<judge::Judgement> = evidence.iter().map(judge::judge).collect();
        let text: String = judgements.iter().map(judge::Judgement::text).collect();
        let mut value = serde_json::json!({ "requests": judgements, "record": record });
        with_text(&mut value, &text);
        Ok(value)
    }
}

fn shown(judgement: &judge::Judgement) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(judgement)?;
    with_text(&mut value, &judgement.text());
    Ok(value)
}

fn with_text(value: &mut serde_json::Value, text: &str) {
    if let Some(object) = value.as_object_mut() {
        object.insert("text".to_owned(), text.into());
    }
}
