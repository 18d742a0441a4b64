//! Prefix lists: AWS's own and customers'.

use postern_model::prefix_list::{self, NewPrefixList, PrefixList, PrefixListChange};
use postern_model::{AccountId, Action, IpNet, PrefixListId, ResourceId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::pagination::Bounds;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "PrefixListId")];
const BOUNDS: Bounds = Bounds { least: 1, most: 100 };
const ASSOCIATION_BOUNDS: Bounds = Bounds { least: 5, most: 255 };
const DESCRIBE_BOUNDS: Bounds = Bounds { least: 5, most: 1000 };

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateManagedPrefixList = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &[
            "AddressFamily", "Entry.Cidr", "Entry.Description", "MaxEntries", "PrefixListName",
        ]],
        asked: &[Asked::New("prefix-list")],
    },
    operation! { write ModifyManagedPrefixList = modify;
        honoured: &[DRY_RUN, &[
            "AddEntry.Cidr", "AddEntry.Description", "CurrentVersion", "MaxEntries", "PrefixListId",
            "PrefixListName", "RemoveEntry.Cidr",
        ]],
        only: &[("IpamPrefixListResolverSyncEnabled", &["false"])],
        asked: NAMED,
    },
    operation! { write DeleteManagedPrefixList = delete; honoured: &[DRY_RUN, &["PrefixListId"]], asked: NAMED },
    operation! { read DescribeManagedPrefixLists = describe_managed; filters: filters::names::<ec2::ManagedPrefixList>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["PrefixListId"]],
    },
    operation! { read GetManagedPrefixListEntries = entries;
        honoured: &[DRY_RUN, PAGES, &["PrefixListId", "TargetVersion"]],
        asked: NAMED,
    },
    operation! { read GetManagedPrefixListAssociations = associations;
        honoured: &[DRY_RUN, PAGES, &["PrefixListId"]],
        asked: NAMED,
    },
    operation! { write RestoreManagedPrefixListVersion = restore;
        honoured: &[DRY_RUN, &["CurrentVersion", "PrefixListId", "PreviousVersion"]],
        asked: NAMED,
    },
    operation! { read DescribePrefixLists = describe; filters: filters::names::<ec2::PrefixList>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["PrefixListId"]],
    },
];

fn show(state: &State, list: &PrefixList, progress: &str) -> ec2::ManagedPrefixList {
    let owner = list.owner.map_or_else(|| "aws".to_owned(), |owner| owner.to_string());
    let own = list.owner.is_some();
    ec2::ManagedPrefixList {
        address_family: some(if list.ipv6 { "IPv6" } else { "IPv4" }),
        // AWS does not say how large or how old its own lists are.
        max_entries: own.then_some(i64::from(list.max_entries)),
        owner_id: some(list.owner.map_or_else(|| "AWS".to_owned(), |owner| owner.to_string())),
        prefix_list_arn: some(format!("arn:aws:ec2:{}:{owner}:prefix-list/{}", state.region.name, list.id)),
        prefix_list_id: some(list.id),
        prefix_list_name: some(&list.name),
        state: some(progress),
        tags: tags(&list.tags),
        version: i64::try_from(list.version).ok().filter(|_| own),
        ..Default::default()
    }
}

/// What happened to a list last.
fn progress(list: &PrefixList) -> &'static str {
    if list.version > 1 { "modify-complete" } else { "create-complete" }
}

impl Row for ec2::ManagedPrefixList {
    const FILTERS: FilterTable<Self> = &[
        ("owner-id", |l| text(l.owner_id.as_ref())),
        ("prefix-list-id", |l| text(l.prefix_list_id.as_ref())),
        ("prefix-list-name", |l| text(l.prefix_list_name.as_ref())),
    ];

    fn key(&self) -> String {
        self.prefix_list_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Row for ec2::PrefixList {
    const FILTERS: FilterTable<Self> = &[
        ("prefix-list-id", |l| text(l.prefix_list_id.as_ref())),
        ("prefix-list-name", |l| text(l.prefix_list_name.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.prefix_list_id.clone().unwrap_or_default()
    }
}

fn added(entries: Vec<ec2::AddPrefixListEntry>) -> Result<Vec<(IpNet, String)>, AwsError> {
    let mut read: Vec<(IpNet, String)> = Vec::with_capacity(entries.len());
    for ec2::AddPrefixListEntry { cidr, description } in entries {
        let text = parameters::required(cidr, "Entry.Cidr")?;
        let cidr = parameters::block(&text, "cidr")?;
        let description = description.unwrap_or_default();
        if description.chars().count() > 255 {
            return Err(parameters::invalid("description", description, "It is longer than 255 characters."));
        }
        if read.iter().any(|(known, _)| *known == cidr) {
            return Err(parameters::invalid("cidr", cidr, "It is given more than once."));
        }
        read.push((cidr, description));
    }
    Ok(read)
}

fn list_id(text: Option<String>) -> Result<PrefixListId, AwsError> {
    parameters::id(&parameters::required(text, "PrefixListId")?)
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateManagedPrefixListRequest,
) -> Result<ec2::CreateManagedPrefixListResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["prefix-list"])?;
    let family = parameters::required(request.address_family, "AddressFamily")?;
    let ipv6 = match family.as_str() {
        "IPv4" => false,
        "IPv6" => true,
        other => return Err(parameters::invalid("addressFamily", other, "Expected one of: IPv4, IPv6.")),
    };
    let max_entries = parameters::required(request.max_entries, "MaxEntries")?;
    let entries = added(request.entries)?;
    check_family(ipv6, &entries)?;
    let action = Action::CreateManagedPrefixList(NewPrefixList {
        name: parameters::required(request.prefix_list_name, "PrefixListName")?,
        ipv6,
        max_entries: parameters::number(max_entries, "maxEntries")?,
        entries,
        tags,
    });
    let done = call.execute(request.client_token.as_deref(), action).await?;
    let id = created!(done, PrefixList)?;
    let list = done.state.get::<PrefixList>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateManagedPrefixListResult {
        prefix_list: Some(show(&done.state, &list, "create-in-progress")),
    })
}

fn check_family(ipv6: bool, entries: &[(IpNet, String)]) -> Result<(), AwsError> {
    match entries.iter().find(|(cidr, _)| matches!(cidr, IpNet::V6(_)) != ipv6) {
        None => Ok(()),
        Some((cidr, _)) => {
            Err(parameters::invalid("cidr", cidr, "It is not of the address family of the prefix list."))
        }
    }
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyManagedPrefixListRequest,
) -> Result<ec2::ModifyManagedPrefixListResult, AwsError> {
    let list = list_id(request.prefix_list_id)?;
    let mut remove = Vec::new();
    for ec2::RemovePrefixListEntry { cidr } in request.remove_entries {
        remove.push(parameters::block(&parameters::required(cidr, "RemoveEntry.Cidr")?, "cidr")?);
    }
    let add = added(request.add_entries)?;
    // "To modify the entries, you must specify the current version", so that no change is lost.
    if request.current_version.is_none() && !(add.is_empty() && remove.is_empty()) {
        return Err(parameters::missing("CurrentVersion"));
    }
    let number = |value: Option<i64>| value.map(|v| parameters::number(v, "currentVersion")).transpose();
    let max_entries = request.max_entries.map(|v| parameters::number(v, "maxEntries")).transpose()?;
    let change = PrefixListChange {
        current_version: number(request.current_version)?,
        name: request.prefix_list_name,
        max_entries,
        add,
        remove,
    };
    let done = call.execute(None, Action::ModifyManagedPrefixList { list, change }).await?;
    let found = done.state.get::<PrefixList>(call.account, list).map_err(|e| call.refuse(e))?;
    Ok(ec2::ModifyManagedPrefixListResult {
        prefix_list: Some(show(&done.state, &found, "modify-in-progress")),
    })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteManagedPrefixListRequest,
) -> Result<ec2::DeleteManagedPrefixListResult, AwsError> {
    let list = list_id(request.prefix_list_id)?;
    let found = call.state.get::<PrefixList>(call.account, list);
    call.execute(None, Action::DeleteManagedPrefixList { list }).await?;
    let found = found.map_err(|e| call.refuse(e))?;
    Ok(ec2::DeleteManagedPrefixListResult {
        prefix_list: Some(show(&call.state, &found, "delete-in-progress")),
    })
}

async fn restore(
    call: &Call<'_>,
    request: ec2::RestoreManagedPrefixListVersionRequest,
) -> Result<ec2::RestoreManagedPrefixListVersionResult, AwsError> {
    let list = list_id(request.prefix_list_id)?;
    let previous = parameters::required(request.previous_version, "PreviousVersion")?;
    let current = parameters::required(request.current_version, "CurrentVersion")?;
    let previous = parameters::number(previous, "previousVersion")?;
    let current = parameters::number(current, "currentVersion")?;
    let done =
        call.execute(None, Action::RestoreManagedPrefixListVersion { list, previous, current }).await?;
    let found = done.state.get::<PrefixList>(call.account, list).map_err(|e| call.refuse(e))?;
    Ok(ec2::RestoreManagedPrefixListVersionResult {
        prefix_list: Some(show(&done.state, &found, "restore-in-progress")),
    })
}

fn describe_managed(
    call: &Call<'_>,
    request: ec2::DescribeManagedPrefixListsRequest,
) -> Result<ec2::DescribeManagedPrefixListsResult, AwsError> {
    let rows = call.select::<PrefixList>(&request.prefix_list_ids)?;
    let rows = rows.iter().map(|list| show(&call.state, list, progress(list))).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (prefix_lists, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeManagedPrefixListsResult { next_token, prefix_lists })
}

/// AWS's own lists alone, as services see them.
fn describe(
    call: &Call<'_>,
    request: ec2::DescribePrefixListsRequest,
) -> Result<ec2::DescribePrefixListsResult, AwsError> {
    let lists = call.select::<PrefixList>(&request.prefix_list_ids)?;
    let (managed, others): (Vec<_>, Vec<_>) = lists.into_iter().partition(|list| list.owner.is_none());
    if let (Some(other), false) = (others.first(), request.prefix_list_ids.is_empty()) {
        return Err(error::not_found(&[other.id.into()]));
    }
    let row = |list: &std::sync::Arc<PrefixList>| ec2::PrefixList {
        cidrs: Some(list.entries.keys().map(ToString::to_string).collect()),
        prefix_list_id: some(list.id),
        prefix_list_name: some(&list.name),
    };
    let rows = managed.iter().map(row).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: DESCRIBE_BOUNDS,
    };
    let (prefix_lists, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribePrefixListsResult { next_token, prefix_lists })
}

impl Row for ec2::PrefixListEntry {
    const FILTERS: FilterTable<Self> = &[];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.cidr.clone().unwrap_or_default()
    }
}

fn entries(
    call: &Call<'_>,
    request: ec2::GetManagedPrefixListEntriesRequest,
) -> Result<ec2::GetManagedPrefixListEntriesResult, AwsError> {
    let id = parameters::required(request.prefix_list_id, "PrefixListId")?;
    let list = call.get::<PrefixList>(&id)?;
    let current = || list.entries.iter().map(|(cidr, text)| (*cidr, text.clone())).collect::<Vec<_>>();
    let entries =
        match request.target_version.map(|v| parameters::number::<u64>(v, "targetVersion")).transpose()? {
            None => current(),
            Some(version) if version == list.version => current(),
            Some(version) => list.history.get(&version).cloned().ok_or_else(|| {
                call.refuse(postern_model::ModelError::PrefixListNoVersion { list: list.id, version })
            })?,
        };
    let row = |(cidr, text): (IpNet, String)| ec2::PrefixListEntry {
        cidr: some(cidr),
        description: (!text.is_empty()).then_some(text),
    };
    let listing = Listing {
        filters: Vec::new(),
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (entries, next_token) = call.list(entries.into_iter().map(row).collect(), listing)?;
    Ok(ec2::GetManagedPrefixListEntriesResult { entries, next_token })
}

impl Row for ec2::PrefixListAssociation {
    const FILTERS: FilterTable<Self> = &[];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.resource_id.clone().unwrap_or_default()
    }
}

fn associations(
    call: &Call<'_>,
    request: ec2::GetManagedPrefixListAssociationsRequest,
) -> Result<ec2::GetManagedPrefixListAssociationsResult, AwsError> {
    let id = parameters::required(request.prefix_list_id, "PrefixListId")?;
    let list = call.get::<PrefixList>(&id)?;
    let row = |owner: AccountId, id: ResourceId| ec2::PrefixListAssociation {
        resource_id: some(id),
        resource_owner: some(owner),
    };
    let used = prefix_list::associations(&call.state, call.account, list.id);
    let rows = used.into_iter().map(|id| row(call.account, id)).collect();
    let listing = Listing {
        filters: Vec::new(),
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: ASSOCIATION_BOUNDS,
    };
    let (prefix_list_associations, next_token) = call.list(rows, listing)?;
    Ok(ec2::GetManagedPrefixListAssociationsResult { next_token, prefix_list_associations })
}
