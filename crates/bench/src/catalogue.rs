//! Which benchmarks there are, and the run of those that were asked for.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use postern_dataplane::host::{self, Host, Privilege, StartOptions};

use crate::cpu::{self, Pinning};
use crate::machine::Machine;
use crate::paths::Field;
use crate::report::{self, Outcome};
use crate::supervise::Allowed;
use crate::{
    Options, decide, dynamodb, first_packet, isolation, paths, policy, route_change, s3, scale, supervise,
};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Benchmark {
    /// Throughput, connections, requests, latency and CPU, beside veth, routing, nftables and HAProxy
    Paths,
    /// The same through an endpoint and a load balancer to several targets, beside veth, nftables, HAProxy and nginx
    PrivateLink,
    /// The first packet of a flow that is decided about
    FirstPacket,
    /// From a changed route to the first packet that takes it
    RouteChange,
    /// Decisions a second
    Decide,
    /// Decisions of policies, beside iam-rs and cedar-policy
    Policy,
    /// A thousand instances, a hundred thousand flows, a million prefixes
    Scale,
    /// What the others keep while one interface attacks
    Isolation,
    /// The object store's CPU for each request, beside s3s-fs
    S3,
    /// DynamoDB's CPU for each request, beside its engine alone
    Dynamodb,
}

impl Benchmark {
    fn name(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::PrivateLink => "private_link",
            Self::FirstPacket => "first_packet",
            Self::RouteChange => "route_change",
            Self::Decide => "decide",
            Self::Policy => "policy",
            Self::Scale => "scale",
            Self::Isolation => "isolation",
            Self::S3 => "s3",
            Self::Dynamodb => "dynamodb",
        }
    }

    fn needs_host(self) -> bool {
        match self {
            Self::Paths
            | Self::PrivateLink
            | Self::FirstPacket
            | Self::RouteChange
            | Self::Scale
            | Self::Isolation => true,
            Self::Decide | Self::Policy | Self::S3 | Self::Dynamodb => false,
        }
    }
}

/// Runs the benchmarks and says what they found. To be called before the process has threads.
pub fn run(options: &Options, place: &Path) -> anyhow::Result<()> {
    let mut chosen = options.names.clone();
    if chosen.is_empty() {
        chosen.extend(Benchmark::value_variants());
    }
    chosen.sort();
    chosen.dedup();
    let machine = Machine::look();
    let pinning = Pinning::new(&options.cpus)?;
    cpu::pin(&pinning.all)?;
    let host =
        chosen.iter().any(|benchmark| benchmark.needs_host()).then(|| start_host(place)).transpose()?;
    supervise::end_with_supervisor()?;

    let privilege = host.as_ref().map(|host| host.privilege());
    let mut stage = Stage { host, field: None, private_link: None, pinning, place, options };
    let allowed = Allowed::look();
    allowed.widen();
    let set_up = stage.set_up(&chosen);
    allowed.restore();
    set_up?;
    let mut outcomes = Vec::new();
    for benchmark in chosen {
        let outcome = stage.measure(benchmark);
        outcomes.push((benchmark, outcome.with_context(|| format!("benchmark `{}`", benchmark.name()))?));
    }
    let text = text(&machine, &stage.pinning, privilege, options, &outcomes);
    println!("{text}");
    if let Some(file) = &options.json {
        let raw: serde_json::Map<_, _> = outcomes
            .iter()
            .map(|(benchmark, outcome)| (benchmark.name().to_owned(), outcome.raw.clone()))
            .collect();
        let all = serde_json::json!({
            "machine": machine, "rounds": options.rounds, "seconds": options.seconds, "processors": stage.pinning.all,
            "figures": raw,
        });
        std::fs::write(file, format!("{all:#}\n"))
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    if let Some(document) = &options.docs {
        report::put_into(document, &text)?;
    }
    Ok(())
}

fn start_host(place: &Path) -> anyhow::Result<Arc<Host>> {
    let options = StartOptions { runtime_dir: place.join("host"), hidden: Vec::new() };
    Ok(Arc::new(host::start(options)?))
}

/// What benchmarks run on.
struct Stage<'a> {
    host: Option<Arc<Host>>,
    /// The contenders; several benchmarks use the same ones.
    field: Option<Field>,
    private_link: Option<Field>,
    pinning: Pinning,
    place: &'a Path,
    options: &'a Options,
}

impl Stage<'_> {
    fn host(&self) -> anyhow::Result<&Arc<Host>> {
        self.host.as_ref().context("the host side was not started")
    }

    /// Makes the contenders that the benchmarks need.
    fn set_up(&mut self, chosen: &[Benchmark]) -> anyhow::Result<()> {
        if chosen.contains(&Benchmark::Paths) {
            let mut field = Field::whole(self.host()?, &self.pinning, self.place)?;
            field.narrow(&self.options.only);
            self.field = Some(field);
        } else if chosen.contains(&Benchmark::FirstPacket) {
            self.field = Some(Field::small(self.host()?, &self.pinning)?);
        }
        if chosen.contains(&Benchmark::PrivateLink) {
            let mut field = Field::private_link(self.host()?, &self.pinning, self.place)?;
            field.narrow(&self.options.only);
            self.private_link = Some(field);
        }
        Ok(())
    }

    fn measure(&mut self, benchmark: Benchmark) -> anyhow::Result<Outcome> {
        let field = || anyhow::anyhow!("the contenders were not set up");
        match benchmark {
            Benchmark::Paths => {
                paths::run(self.field.as_ref().ok_or_else(field)?, &self.pinning, self.options)
            }
            Benchmark::PrivateLink => {
                paths::run(self.private_link.as_ref().ok_or_else(field)?, &self.pinning, self.options)
            }
            Benchmark::FirstPacket => {
                first_packet::run(self.field.as_mut().ok_or_else(field)?, &self.pinning, self.options)
            }
            Benchmark::RouteChange => route_change::run(&self.pinning, self.place, self.options),
            Benchmark::Decide => decide::run(&self.pinning, self.options),
            Benchmark::Policy => policy::run(&self.pinning, self.options),
            Benchmark::Scale => scale::run(self.host()?, &self.pinning, self.place, self.options),
            Benchmark::Isolation => isolation::run(self.host()?, &self.pinning, self.options),
            Benchmark::S3 => s3::run(self.place, self.options),
            Benchmark::Dynamodb => dynamodb::run(self.place, self.options),
        }
    }
}

fn text(
    machine: &Machine,
    pinning: &Pinning,
    privilege: Option<Privilege>,
    options: &Options,
    outcomes: &[(Benchmark, Outcome)],
) -> String {
    let privilege = match privilege {
        Some(Privilege::Root) => " Packets moved as root.",
        Some(Privilege::Unprivileged) => " Packets moved in a user namespace, without root.",
        None => "",
    };
    let mut parts = vec![format!(
        "{}\n\n{} rounds, {} s for each throughput and rate.{privilege} Pinning: {}.\n",
        machine.in_words(),
        options.rounds,
        options.seconds,
        pinning.in_words()
    )];
    for table in outcomes.iter().flat_map(|(_, outcome)| &outcome.tables) {
        parts.push(table.markdown());
    }
    let goals: Vec<_> = outcomes.iter().flat_map(|(_, outcome)| &outcome.goals).collect();
    parts.push(report::goals(&goals).markdown());
    parts.join("\n")
}
