//! Services that the operator puts behind the doors, and who answers for each one there is.

use anyhow::{Context, bail};
use postern_model::endpoint::{NewUpstream, Service, UpstreamKey, UpstreamProtocol, full_name};
use postern_model::iam::Secret;
use postern_model::{AccountId, Action, State};
use postern_services::commands::Commands;
use postern_services::upstream::{Upstreams, action_prefix_of, host_roots, page_at, protocol_of};
use postern_wire::protocols::{known_service, spoken_at};

use super::command::RegionCommands;
use super::execute;
use crate::control::{NewService, ServiceInfo};

/// Who answers where Postern does.
const POSTERN: &str = "postern";

/// Puts a service behind the doors, and says what it became.
pub async fn add(
    commands: &RegionCommands,
    upstreams: &Upstreams,
    run: &str,
    new: NewService,
) -> anyhow::Result<Vec<ServiceInfo>> {
    let state = commands.state();
    let name = short(&state, &new.name).to_owned();
    let of_aws = state.services.get(&full_name(&state.region.name, &name));
    if let Some(service) = of_aws
        && upstreams.is_served(&service.signing_name)
        && state.route_of(service) == service.signing_name
    {
        bail!("`{name}` is served by Postern itself: give a service of your own another name");
    }
    let known = of_aws.map(|service| service.signing_name.clone());
    // AWS's services are called otherwise in signatures than in their hosts' names at times: `email` is `ses`.
    let is_of_catalogue = known.is_some();
    let known = known.or_else(|| known_service(&name).map(|service| service.signing_name.to_owned()));
    let signing_name = new.signing_name.or(known).unwrap_or_else(|| name.replace('.', "-"));
    let protocol = match &new.protocol {
        Some(text) => text.parse::<UpstreamProtocol>()?,
        None if !is_of_catalogue && spoken_at(&name).len() > 1 => bail!(
            "AWS's services at `{name}` are spoken to by {}, so --protocol has to say how this one is",
            spoken_at(&name).join(" and ")
        ),
        None => protocol_of(&signing_name).with_context(|| {
            format!(
                "no service of AWS's is called `{signing_name}`, so --protocol has to say how to speak to it"
            )
        })?,
    };
    if signing_name == "s3" {
        check_s3(protocol, new.key.is_some())?;
    }
    let key = new.key.map(|(id, secret)| UpstreamKey {
        id,
        secret: Secret(secret),
        region: new.upstream_region.clone(),
    });
    if key.is_none() && new.upstream_region.is_some() {
        bail!(
            "--upstream-region is for requests that are signed anew: --key-id and --secret-file say with what"
        );
    }
    if new.upstream.starts_with("https://") {
        // What cannot be verified is known now rather than at the first request.
        host_roots()?;
    }
    if leads_here(&new.upstream, run).await {
        bail!("`{}` is this region itself, which would ask itself for ever", new.upstream);
    }
    let owner = new.owner.map(|owner| owner.parse::<AccountId>()).transpose()?;
    let action = Action::AddService(NewUpstream {
        action_prefix: action_prefix_of(&signing_name).to_owned(),
        url: new.upstream,
        protocol,
        signing_name,
        key,
        private_dns_names: new.private_dns,
        owner,
        name: name.clone(),
    });
    execute(commands, operator(&state)?, action).await?;
    let all = list(&commands.state(), upstreams);
    Ok(all.into_iter().filter(|service| service.name == name).collect())
}

/// S3 of another program: it would read a bucket out of the host that a request came with, so that is not handed on.
fn check_s3(protocol: UpstreamProtocol, has_key: bool) -> anyhow::Result<()> {
    if protocol != UpstreamProtocol::RestXml {
        bail!("`s3` is spoken to by rest-xml and not by {protocol}");
    }
    if !has_key {
        bail!(
            "requests that are signed for `s3` can only be signed anew: --key-id and --secret-file say with what"
        );
    }
    Ok(())
}

/// Whether what answers at a URL is this run of this region.
async fn leads_here(url: &str, run: &str) -> bool {
    let page = page_at(url, "/_postern/region").await;
    let page = page.and_then(|page| serde_json::from_str::<serde_json::Value>(&page).ok());
    page.is_some_and(|page| page["run"] == run)
}

/// Takes a service away that was added.
pub async fn remove(commands: &RegionCommands, name: &str) -> anyhow::Result<()> {
    let state = commands.state();
    let name = short(&state, name).to_owned();
    execute(commands, operator(&state)?, Action::RemoveService { name }).await.map(|_| ())
}

/// All services that endpoints can lead to.
pub fn list(state: &State, upstreams: &Upstreams) -> Vec<ServiceInfo> {
    let info = |service: &Service| {
        let upstream = state.upstreams.get(&service.name);
        let own = upstream.is_none() && upstreams.is_served(&service.signing_name);
        ServiceInfo {
            name: short(state, &service.name).to_owned(),
            service_name: service.name.clone(),
            served_by: upstream.map(|upstream| upstream.url.clone()).or(own.then(|| POSTERN.to_owned())),
            protocol: upstream.map(|upstream| upstream.protocol.name().to_owned()),
            private_dns: service.private_dns_names.clone(),
            key_id: upstream.and_then(|upstream| Some(upstream.key.as_ref()?.id.clone())),
            owner: upstream.and_then(|upstream| Some(upstream.own.as_ref()?.owner?.to_string())),
        }
    };
    state.services.values().map(|service| info(service)).collect()
}

/// The end of a name that may be a whole one.
fn short<'n>(state: &State, name: &'n str) -> &'n str {
    let of_region = name.strip_prefix("com.amazonaws.");
    let rest = of_region.and_then(|rest| rest.strip_prefix(state.region.name.as_str())?.strip_prefix('.'));
    rest.or(of_region).unwrap_or(name)
}

/// Commands are somebody's; the operator's are the first account's.
fn operator(state: &State) -> anyhow::Result<AccountId> {
    state.accounts.keys().next().copied().context("the region has no account")
}
