//! Postern's own doors: the forwarder's port into their namespace, and what listens there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit};
use postern_dataplane::forward::{self, Forwarder};
use postern_dataplane::host::{self, Host, PortRoute, PortSpec, Prefix};
use postern_dns::{Resolver, Upstream};
use postern_frontdoor::pages::Pages;
use postern_frontdoor::{
    Audit, Authoriser, Authority, Config, FrontDoor, HostNames, HttpService, JsonDoor, Limits, Metrics,
    Mount, OriginSource, QueryService, Server, audit,
};
use postern_model::InstanceId;
use postern_path::Door;
use postern_path::decide::VPC_MTU;
use postern_services::access_analyzer::AccessAnalyzerService;
use postern_services::commands::Commands;
use postern_services::directory::session::SessionKeys;
use postern_services::dynamodb::{self, DynamoDbService};
use postern_services::ec2::Ec2Service;
use postern_services::elbv2::ElbService;
use postern_services::iam::IamService;
use postern_services::imds::Imds;
use postern_services::imds::identity::IdentitySigner;
use postern_services::monitoring::{Monitoring, MonitoringDoor};
use postern_services::organizations::OrganizationsService;
use postern_services::route53_resolver::ResolverService;
use postern_services::s3::host::Hosts;
use postern_services::s3::storage::Store;
use postern_services::s3::{self, S3Service};
use postern_services::s3_gate::{self, S3Door, S3Gate};
use postern_services::service_quotas::QuotasService;
use postern_services::sns::SnsService;
use postern_services::sts::StsService;
use postern_services::upstream::Upstreams;

use super::Options;
use super::ailments::Ailments;
use super::balancer::Checks;
use super::console::Consoles;
use super::planner::Planner;
use super::recorder::Recorder;
use super::sns::Posts;

/// The inner end of the doors' port. A locally administered address, and the same in every region: nobody else is on
/// that link.
const DOORS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0d];
/// How many audit records may wait to be written.
const AUDIT_QUEUE: usize = 4_096;

/// What a front door is made of.
pub struct Parts<'a> {
    /// How the region is started.
    pub options: &'a Options,
    /// The region's state.
    pub commands: &'a Arc<dyn Commands>,
    /// Who may do what.
    pub authoriser: &'a Arc<Authoriser>,
    /// Who certifies.
    pub authority: &'a Arc<Authority>,
    /// What session tokens are made with.
    pub sessions: &'a Arc<SessionKeys>,
    /// What instances printed.
    pub consoles: &'a Consoles,
    /// What is known of load balancers' targets.
    pub checks: &'a Arc<Checks>,
    /// What was measured.
    pub monitoring: &'a Arc<Monitoring>,
    /// What takes messages to subscribers.
    pub posts: &'a Posts,
    /// Where calls are recorded.
    pub recorder: &'a Recorder,
    /// Postern's own pages.
    pub pages: Arc<dyn Pages>,
    /// What S3 holds.
    pub s3: Store,
    /// DynamoDB's tables.
    pub tables: dynamodb::Store,
    /// Where requests are counted.
    pub metrics: &'a Arc<Metrics>,
}

/// The front door with everything behind it.
pub fn front_door(parts: Parts<'_>) -> anyhow::Result<(FrontDoor, Arc<Upstreams>)> {
    let region = parts.options.region.name.clone();
    let metrics = Arc::clone(parts.metrics);
    let (audit, records) = Audit::channel(AUDIT_QUEUE, Arc::clone(&metrics));
    tokio::spawn(audit::write(records, parts.recorder.clone(), Arc::clone(&metrics)));
    let dynamodb = JsonDoor::new(
        Arc::new(DynamoDbService::new(parts.tables, &region)),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let quotas = JsonDoor::new(
        Arc::new(QuotasService::new(Arc::clone(parts.commands))),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let resolver = JsonDoor::new(
        Arc::new(ResolverService::new(Arc::clone(parts.commands))),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let organizations = JsonDoor::new(
        Arc::new(OrganizationsService::new(Arc::clone(parts.commands))),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let access_analyzer = JsonDoor::new(
        Arc::new(AccessAnalyzerService),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let monitoring = MonitoringDoor::new(
        Arc::clone(parts.monitoring),
        Arc::clone(parts.authoriser),
        &region,
        audit.clone(),
        Arc::clone(&metrics),
        limits().stall,
    );
    let s3 = s3(parts.s3, parts.authoriser, &region, &parts.options.listen_names, &audit, &metrics);
    let query_services: Vec<Arc<dyn QueryService>> = vec![
        Arc::new(
            Ec2Service::new(Arc::clone(parts.commands), Arc::new(parts.consoles.clone()))
                .sealing(Arc::clone(parts.sessions)),
        ),
        Arc::new(IamService::new(Arc::clone(parts.commands))),
        Arc::new(ElbService::new(Arc::clone(parts.commands), Arc::clone(parts.checks) as _)),
        Arc::new(SnsService::new(Arc::clone(parts.commands), Arc::new(parts.posts.clone()))),
        Arc::new(StsService::new(Arc::clone(parts.commands), Arc::clone(parts.sessions))),
    ];
    let served = query_services
        .iter()
        .map(|service| service.signing_name())
        .chain(["s3", "dynamodb", "organizations", "monitoring", "servicequotas", "access-analyzer"])
        .chain(["route53resolver"])
        .collect::<Vec<_>>();
    let upstreams = Arc::new(Upstreams::new(
        Arc::clone(parts.commands),
        Arc::clone(parts.authoriser),
        audit.clone(),
        Arc::clone(&metrics),
        served,
    ));
    let front_door = FrontDoor::new(Config {
        region: region.clone(),
        authoriser: Arc::clone(parts.authoriser),
        authority: Arc::clone(parts.authority),
        others: Arc::clone(&upstreams) as _,
        query_services,
        http_services: vec![
            Mount { signing_name: "s3", hosts: HostNames::of_s3(&region), service: Arc::new(s3) },
            Mount {
                signing_name: "dynamodb",
                hosts: HostNames::of_dynamodb(&region),
                service: Arc::new(dynamodb),
            },
            Mount {
                signing_name: "monitoring",
                hosts: HostNames::of_service("monitoring", &region),
                service: Arc::new(monitoring),
            },
            Mount {
                signing_name: "servicequotas",
                hosts: HostNames::of_service("servicequotas", &region),
                service: Arc::new(quotas),
            },
            Mount {
                signing_name: "route53resolver",
                hosts: HostNames::of_service("route53resolver", &region),
                service: Arc::new(resolver),
            },
            Mount {
                signing_name: "organizations",
                hosts: HostNames::new([
                    "organizations.us-east-1.amazonaws.com",
                    "organizations.amazonaws.com",
                ]),
                service: Arc::new(organizations),
            },
            Mount {
                signing_name: "access-analyzer",
                hosts: HostNames::of_service("access-analyzer", &region),
                service: Arc::new(access_analyzer),
            },
        ],
        names: [&["localhost".to_owned()], &parts.options.listen_names[..]].concat(),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), parts.options.listen.ip()],
        audit,
        metrics,
        pages: parts.pages,
        dev: parts.options.dev,
        limits: limits(),
    })?;
    Ok((front_door, upstreams))
}

/// As many connections as this process has descriptors for.
fn limits() -> Limits {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    Limits::within(usize::try_from(descriptors).unwrap_or(usize::MAX))
}

fn s3(
    store: Store,
    authoriser: &Arc<Authoriser>,
    region: &str,
    names: &[String],
    audit: &Audit,
    metrics: &Arc<Metrics>,
) -> S3Door {
    // Buckets are below names, not below addresses.
    let names = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    let hosts = Hosts::new(region, names.cloned());
    let options = s3::Options {
        region: region.to_owned(),
        hosts: hosts.clone(),
        policy_check: Some(s3_gate::policy_check()),
    };
    let service = S3Service::new(store, Arc::new(S3Gate::new(Arc::clone(authoriser))), options);
    S3Door::new(service, Arc::clone(authoriser), hosts, region, audit.clone(), Arc::clone(metrics))
}

impl postern_services::ec2::Consoles for Consoles {
    fn console(&self, instance: InstanceId) -> Option<Vec<u8>> {
        self.read(instance)
    }

    fn reboot(&self, instance: InstanceId) -> Result<(), String> {
        self.push_reset(instance);
        Ok(())
    }
}

/// Runs a listener; if it ends by itself, health says so.
pub fn keep<E: std::fmt::Display>(
    name: &'static str,
    ailments: &Arc<Ailments>,
    listener: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    let ailments = Arc::clone(ailments);
    tokio::spawn(async move {
        if let Err(error) = listener.await {
            ailments.note(name, &error.to_string());
        }
    });
}

/// Serves the API outside every VPC.
pub fn serve_outside(front_door: &FrontDoor, listener: tokio::net::TcpListener, ailments: &Arc<Ailments>) {
    let front_door = front_door.clone();
    keep("API", ailments, async move { front_door.serve_tcp(listener, OriginSource::Outside).await });
}

/// What the doors inside are made of.
pub struct Inside<'a> {
    /// Where their namespace is.
    pub host: &'a Arc<Host>,
    /// What brings packets to them.
    pub forwarder: &'a Arc<Forwarder>,
    /// Where AWS's services are.
    pub front_door: &'a FrontDoor,
    /// What names lead to.
    pub planner: &'a Arc<Planner>,
    /// The region's state.
    pub commands: &'a Arc<dyn Commands>,
    /// What session tokens are made with.
    pub sessions: &'a Arc<SessionKeys>,
    /// What signs instances' identity documents.
    pub identity: IdentitySigner,
    /// Where requests are counted.
    pub metrics: &'a Arc<Metrics>,
    /// Who is told of a listener that ends.
    pub ailments: &'a Arc<Ailments>,
    /// Who is asked for names that are not the region's, if anybody.
    pub resolvers: Option<Arc<Upstream>>,
}

/// Opens the doors inside: gives the forwarder its port, and listens at every door's address but the uplink's. Returns
/// what the resolver counts.
pub async fn open(inside: Inside<'_>) -> anyhow::Result<Arc<postern_dns::Metrics>> {
    let Inside { host, forwarder, ailments, .. } = inside;
    let (for_port, to) = (Arc::clone(host), Arc::clone(forwarder));
    tokio::task::spawn_blocking(move || connect(&for_port, &to)).await??;
    let peers = forwarder.peers();
    let origin = |tls| OriginSource::Inside { peers: Arc::clone(&peers), tls };
    for (name, port, tls) in [("front door, TLS", 443, true), ("front door, plain", 80, false)] {
        let listener = listen(host, Door::FrontDoor, port)?;
        let (front_door, origin) = (inside.front_door.clone(), origin(tls));
        keep(name, ailments, async move { front_door.serve_tcp(listener, origin).await });
    }
    let metadata =
        Imds::new(Arc::clone(inside.commands), Arc::clone(inside.sessions), Arc::clone(inside.metrics));
    let metadata: Arc<dyn HttpService> = Arc::new(metadata.signing(inside.identity));
    let metadata = Server::new(metadata, None, limits(), Arc::clone(inside.metrics));
    let (listener, plain) = (listen(host, Door::Metadata, 80)?, origin(false));
    keep("instance metadata", ailments, async move { metadata.serve_tcp(listener, plain).await });

    let resolver = Resolver::new(peers, Arc::clone(inside.planner) as _);
    let resolver = Arc::new(resolver.with_upstream(inside.resolvers));
    let counted = resolver.metrics();
    let tcp = listen(host, Door::Resolver, 53)?;
    let udp =
        host.doors().bind_udp(address(Door::Resolver, 53)).context("cannot bind the resolver's address")?;
    udp.set_nonblocking(true)?;
    let udp = tokio::net::UdpSocket::from_std(udp)?;
    keep("resolver, UDP", ailments, Arc::clone(&resolver).serve_udp(udp));
    // It has no way to end.
    tokio::spawn(resolver.serve_tcp(tcp));
    Ok(counted)
}

fn address(door: Door, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(door.address()), port)
}

fn listen(host: &Host, door: Door, port: u16) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = host.doors().listen_tcp(address(door, port));
    let listener = listener.with_context(|| format!("cannot listen at the {}, port {port}", door.name()))?;
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

/// The link between the fabric and the doors. Peers are everywhere in 240.0.0.0/4 behind one router, whose hardware
/// address need not be asked for.
fn connect(host: &Host, forwarder: &Forwarder) -> anyhow::Result<()> {
    let router = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 254));
    let prefix = |address: IpAddr, length| Prefix { address, length };
    let peers = prefix(IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4);
    let spec = PortSpec {
        target: host.doors().clone(),
        inside_name: "doors".to_owned(),
        mac: host::Mac(DOORS_MAC),
        mtu: u32::from(VPC_MTU),
        addresses: Door::ALL.iter().map(|door| prefix(door.address().into(), 32)).collect(),
        gateway: None,
        neighbours: vec![(router, host::Mac(forward::packet::ROUTER_MAC.0))],
        routes: vec![
            PortRoute { destination: prefix(router, 32), via: None },
            PortRoute { destination: peers, via: Some(router) },
        ],
    };
    let port = host.create_port(&spec)?;
    let socket = host.open_port(&port)?;
    forwarder.add_doors_port(socket, postern_model::Mac(DOORS_MAC)).wait()??;
    Ok(())
}
