//! DHCP options: what instances are told when they ask for an address.

use std::collections::BTreeMap;

use postern_model::vpc::{DhcpOptions, Vpc};
use postern_model::{Action, DhcpOptionsId, State, VpcId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES, invalid};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags};

/// How many servers an option may have ("CreateDhcpOptions").
const MAX_SERVERS: usize = 4;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateDhcpOptions = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["DhcpConfiguration.Key", "DhcpConfiguration.Value"]],
        asked: &[Asked::New("dhcp-options")],
    },
    operation! { write AssociateDhcpOptions = associate;
        honoured: &[DRY_RUN, &["DhcpOptionsId", "VpcId"]],
        asked: &[Asked::Named(By::Id, "DhcpOptionsId"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write DeleteDhcpOptions = delete;
        honoured: &[DRY_RUN, &["DhcpOptionsId"]],
        asked: &[Asked::Named(By::Id, "DhcpOptionsId")],
    },
    operation! { read DescribeDhcpOptions = describe; filters: filters::names::<ec2::DhcpOptions>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["DhcpOptionsId"]],
    },
];

fn show(options: &DhcpOptions) -> ec2::DhcpOptions {
    let value = |value: &String| ec2::AttributeValue { value: some(value) };
    let option = |(key, values): (&String, &Vec<String>)| ec2::DhcpConfiguration {
        key: some(key),
        values: Some(values.iter().map(value).collect()),
    };
    ec2::DhcpOptions {
        dhcp_configurations: Some(options.options.iter().map(option).collect()),
        dhcp_options_id: some(options.id),
        owner_id: some(options.owner),
        tags: tags(&options.tags),
    }
}

impl Row for ec2::DhcpOptions {
    const FILTERS: FilterTable<Self> = &[
        ("dhcp-options-id", |o| text(o.dhcp_options_id.as_ref())),
        ("key", |o| each(o.dhcp_configurations.as_ref(), |c| c.key.clone())),
        ("owner-id", |o| text(o.owner_id.as_ref())),
        ("value", |o| {
            let values = o.dhcp_configurations.iter().flatten().filter_map(|c| c.values.as_ref());
            values.flatten().filter_map(|value| value.value.clone()).collect()
        }),
    ];

    fn key(&self) -> String {
        self.dhcp_options_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn check_servers(key: &str, values: &[String], names: &[&str]) -> Result<(), AwsError> {
    let fits =
        |value: &&String| !names.contains(&value.as_str()) && value.parse::<std::net::IpAddr>().is_err();
    if let Some(value) = values.iter().find(fits) {
        return Err(invalid(key, value, "It is not an address."));
    }
    if values.len() > MAX_SERVERS {
        return Err(invalid(key, values.len(), &format!("At most {MAX_SERVERS} servers can be given.")));
    }
    Ok(())
}

fn check_option(key: &str, values: &[String]) -> Result<(), AwsError> {
    if values.is_empty() {
        return Err(invalid(key, "", "It has no value."));
    }
    match key {
        "domain-name-servers" => check_servers(key, values, &["AmazonProvidedDNS"]),
        "ntp-servers" | "netbios-name-servers" => check_servers(key, values, &[]),
        "domain-name" if values.len() == 1 => Ok(()),
        "netbios-node-type" if matches!(values, [one] if ["1", "2", "4", "8"].contains(&one.as_str())) => {
            Ok(())
        }
        "domain-name" | "netbios-node-type" => {
            Err(invalid(key, values.join(","), "It is not a value for this option."))
        }
        other => Err(invalid("dhcpConfiguration.key", other, "Unknown DHCP option.")),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateDhcpOptionsRequest,
) -> Result<ec2::CreateDhcpOptionsResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["dhcp-options"])?;
    if request.dhcp_configurations.is_empty() {
        return Err(parameters::missing("DhcpConfiguration"));
    }
    let mut options = BTreeMap::new();
    for ec2::NewDhcpConfiguration { key, values } in request.dhcp_configurations {
        let key = parameters::required(key, "DhcpConfiguration.Key")?;
        check_option(&key, &values)?;
        if options.insert(key.clone(), values).is_some() {
            return Err(invalid("dhcpConfiguration.key", key, "It is given more than once."));
        }
    }
    let done = call.execute(None, Action::CreateDhcpOptions { options, tags }).await?;
    let id = created!(done, DhcpOptions)?;
    let options = done.state.get::<DhcpOptions>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateDhcpOptionsResult { dhcp_options: Some(show(&options)) })
}

/// "The ID of the DHCP options set, or default to associate no DHCP options with the VPC."
pub const NONE: &str = "default";

/// How a VPC's options are named. In the model, no options are a set of the account's that is empty and never shown.
pub fn shown_id(state: &State, id: DhcpOptionsId) -> String {
    match state.dhcp_options.get(&id) {
        Some(options) if options.options.is_empty() => NONE.to_owned(),
        Some(_) | None => id.to_string(),
    }
}

/// The account's empty set, made when it is first wanted for a VPC that is there.
async fn no_options(call: &Call<'_>, vpc: VpcId) -> Result<DhcpOptionsId, AwsError> {
    call.state.get::<Vpc>(call.account, vpc).map_err(|e| call.refuse(e))?;
    let empty = |set: &&std::sync::Arc<DhcpOptions>| set.options.is_empty();
    if let Some(known) = call.state.visible::<DhcpOptions>(call.account).find(empty) {
        return Ok(known.id);
    }
    let action = Action::CreateDhcpOptions { options: BTreeMap::new(), tags: Vec::new() };
    let done = call.execute(None, action).await?;
    created!(done, DhcpOptions)
}

async fn associate(call: &Call<'_>, request: ec2::AssociateDhcpOptionsRequest) -> Result<(), AwsError> {
    let options = parameters::required(request.dhcp_options_id, "DhcpOptionsId")?;
    let vpc = parameters::id::<VpcId>(&parameters::required(request.vpc_id, "VpcId")?)?;
    let options = if options == NONE { no_options(call, vpc).await? } else { parameters::id(&options)? };
    call.execute(None, Action::AssociateDhcpOptions { vpc, options }).await.map(|_| ())
}

async fn delete(call: &Call<'_>, request: ec2::DeleteDhcpOptionsRequest) -> Result<(), AwsError> {
    let options = parameters::id(&parameters::required(request.dhcp_options_id, "DhcpOptionsId")?)?;
    call.execute(None, Action::DeleteDhcpOptions { options }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeDhcpOptionsRequest,
) -> Result<ec2::DescribeDhcpOptionsResult, AwsError> {
    let rows = call.select::<DhcpOptions>(&request.dhcp_options_ids)?;
    let rows = rows.iter().filter(|set| !set.options.is_empty()).map(|set| show(set)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (dhcp_options, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeDhcpOptionsResult { dhcp_options, next_token })
}
