//! What a request asks for: `ec2:<Operation>` on the ARNs of what it names, and what follows from it.
//!
//! Resource types and conditions from "Actions, resources, and condition keys for Amazon EC2" in the service
//! authorization reference. Operations that only look are asked on `*`, as there. The condition keys that are set here
//! stand in [`crate::directory::condition_keys`] too, which says what policies may speak about.

use std::collections::BTreeMap;

use postern_frontdoor::Ask;
use postern_model::interface::NetworkInterface;
use postern_model::prefix_list::PrefixList;
use postern_model::route::{Associated, find_association};
use postern_model::state::Resource;
use postern_model::{AccountId, ResourceId, State, Tags};
use postern_policy::Context;
use postern_wire::query::Form;

use super::interface_view::attachment_text;
use super::parameters::path_of;
use super::resource_keys::{self, Keys};
use super::table::Entry;

/// Something that an operation's action is asked on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// One that it makes: `subnet/*`.
    New(&'static str),
    /// What a parameter names, if it is given.
    Named(By, &'static str),
    /// The role of the instance profile that a parameter names: `iam:PassRole`.
    PassedRole(&'static str),
}

/// How a parameter names a resource.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// By the resource's own id.
    Id,
    /// A key pair, by its name.
    KeyName,
    /// An image.
    ImageId,
    /// An Elastic IP address, by the address.
    PublicIp,
    /// What is linked, by the link's id.
    Association,
    /// The interface, by its attachment.
    Attachment,
}

/// A resource as policies see it.
#[derive(Default)]
struct Target {
    arn: String,
    tags: Tags,
    /// What else policies may ask of it.
    keys: Keys,
}

struct Asker<'a> {
    state: &'a State,
    account: AccountId,
    form: &'a Form,
}

/// Everything that a request asks for. Never empty.
pub(super) fn asks(state: &State, account: AccountId, entry: &Entry, form: &Form) -> Vec<Ask> {
    let asker = Asker { state, account, form };
    let action = format!("ec2:{}", entry.name);
    let mut asks = Vec::new();
    for asked in entry.asked {
        match asked {
            Asked::New(kind) => {
                let value = |path: &str| asker.first(path);
                let keys = resource_keys::of_new(state, account, kind, value);
                let target = Target { arn: asker.arn(kind, "*"), tags: Tags::new(), keys };
                asks.push(asker.about_services(entry.name, asker.ask(&action, target)));
            }
            Asked::Named(by, path) => {
                let targets = asker.values(path).flat_map(|text| asker.targets(*by, text));
                let asked = targets.map(|target| asker.ask(&action, target));
                asks.extend(asked.map(|ask| asker.about_services(entry.name, ask)));
            }
            Asked::PassedRole(path) => {
                asks.extend(asker.values(path).filter_map(|text| asker.pass_role(text)))
            }
        }
    }
    if !asks.iter().any(|ask| ask.action == action) {
        asks.push(asker.ask(&action, Target { arn: "*".to_owned(), ..Target::default() }));
    }
    asks.extend(asker.tagging(entry.name));
    let mut seen = std::collections::BTreeSet::new();
    asks.retain(|ask| seen.insert((ask.action.clone(), ask.resource.clone())));
    asks
}

impl Asker<'_> {
    /// The values of the parameters of a path.
    fn values<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let of_path = move |(name, _): &(&String, &String)| path_of(name) == path;
        self.form.parameters.iter().filter(of_path).map(|(_, value)| value.as_str())
    }

    /// The first of them.
    fn first(&self, path: &str) -> Option<&str> {
        let mut of_path = self.form.parameters.iter().filter(|(name, _)| path_of(name) == path);
        of_path.next().map(|(_, value)| value.as_str())
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{kind}/{id}", self.state.region.name, self.account)
    }

    fn ask(&self, action: &str, target: Target) -> Ask {
        let mut context =
            self.request_tags(Context::new().with("ec2:Region", self.state.region.name.clone()));
        for (key, value) in target.tags {
            context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
            context.insert(&format!("ec2:ResourceTag/{key}"), value);
        }
        for (key, value) in target.keys {
            context.insert(key, value);
        }
        Ask {
            action: action.to_owned(),
            resource: target.arn,
            resource_account: None,
            resource_policy: None,
            context,
        }
    }

    /// Of an endpoint that is made, the service that it leads to and whose that is; of an endpoint service that is made or
    /// changed, the private name that it gets.
    ///
    /// <https://docs.aws.amazon.com/vpc/latest/privatelink/security_iam_id-based-policy-examples.html>
    fn about_services(&self, operation: &str, mut ask: Ask) -> Ask {
        match operation {
            "CreateVpcEndpoint" if ask.resource == self.arn("vpc-endpoint", "*") => {
                if let Some(name) = self.values("ServiceName").next() {
                    ask.context.insert("ec2:VpceServiceName", name.to_owned());
                    if let Some(owner) = self.owner_of_service(name) {
                        ask.context.insert("ec2:VpceServiceOwner", owner);
                    }
                }
            }
            "CreateVpcEndpointServiceConfiguration" | "ModifyVpcEndpointServiceConfiguration" => {
                if let Some(name) = self.values("PrivateDnsName").next() {
                    ask.context.insert("ec2:VpceServicePrivateDnsName", name.to_owned());
                }
            }
            _ => {}
        }
        ask
    }

    /// Whose a service is: an account, or `amazon`. Nobody's is one that is not there.
    fn owner_of_service(&self, name: &str) -> Option<String> {
        if self.state.services.contains_key(name) {
            let upstream = self.state.upstreams.get(name);
            let partner = upstream.and_then(|upstream| upstream.own.as_ref()?.owner);
            return Some(partner.map_or_else(|| "amazon".to_owned(), |partner| partner.to_string()));
        }
        let service = postern_model::endpoint_service::by_name(self.state, name)?;
        Some(service.owner.to_string())
    }

    /// Every tag that the request gives to something, by key.
    fn given_tags(&self) -> BTreeMap<&str, &str> {
        let mut tags = BTreeMap::new();
        for (name, key) in &self.form.parameters {
            if !matches!(
                path_of(name).as_str(),
                "Tag.Key" | "TagSpecification.Tag.Key" | "TagSpecifications.Tag.Key"
            ) {
                continue;
            }
            let value = name.strip_suffix("Key").map(|start| format!("{start}Value"));
            let value = value.and_then(|name| self.form.parameters.get(&name));
            tags.insert(key.as_str(), value.map_or("", String::as_str));
        }
        tags
    }

    fn request_tags(&self, mut context: Context) -> Context {
        let tags = self.given_tags();
        for (key, value) in &tags {
            context.insert(&format!("aws:RequestTag/{key}"), (*value).to_owned());
        }
        context.insert_many("aws:TagKeys", tags.keys().map(|key| (*key).to_owned()));
        context
    }

    /// Tags at creation are asked for as `ec2:CreateTags` on what is made.
    fn tagging(&self, operation: &str) -> Vec<Ask> {
        // Some operations have the name in the plural.
        let kinds = self.values("TagSpecification.ResourceType");
        let kinds = kinds.chain(self.values("TagSpecifications.ResourceType"));
        let ask = |kind: &str| {
            let mut ask =
                self.ask("ec2:CreateTags", Target { arn: self.arn(kind, "*"), ..Target::default() });
            ask.context.insert("ec2:CreateAction", operation.to_owned());
            ask
        };
        kinds.map(ask).collect()
    }

    fn pass_role(&self, profile: &str) -> Option<Ask> {
        let name = profile.rsplit('/').next().unwrap_or(profile);
        let iam = self.state.iam.get(&self.account)?;
        let role = iam.roles.get(iam.instance_profiles.get(name)?.role.as_ref()?)?;
        let arn = format!("arn:aws:iam::{}:role{}{}", self.account, role.path, role.name);
        let context = Context::new().with("iam:PassedToService", "ec2.amazonaws.com");
        Some(Ask {
            action: "iam:PassRole".to_owned(),
            resource: arn,
            resource_account: None,
            resource_policy: None,
            context,
        })
    }

    /// What a text names. An id that is not the caller's is asked for by its text, and an association that is not
    /// there as everything: what follows is an error that tells nothing.
    fn targets(&self, by: By, text: &str) -> Vec<Target> {
        let unknown = || vec![Target { arn: "*".to_owned(), ..Target::default() }];
        let ids: Vec<ResourceId> = match by {
            By::Id => text.parse().ok().into_iter().collect(),
            By::ImageId => {
                let arn = format!("arn:aws:ec2:{}::image/{text}", self.state.region.name);
                return vec![Target { arn, ..Target::default() }];
            }
            By::KeyName => {
                let pair = postern_model::instance::find_key_pair(self.state, self.account, text);
                let tags = pair.as_ref().map(|pair| pair.tags.clone()).unwrap_or_default();
                let keys = pair.map(|pair| resource_keys::of(self.state, self.account, pair.id.into()));
                return vec![Target {
                    arn: self.arn("key-pair", text),
                    tags,
                    keys: keys.unwrap_or_default(),
                }];
            }
            By::PublicIp => {
                let mut addresses = self.state.visible::<postern_model::gateway::Address>(self.account);
                let found = addresses.find(|address| address.public_address.to_string() == text);
                found.map(|address| address.id.into()).into_iter().collect()
            }
            By::Association => self.associated(text),
            By::Attachment => {
                let mut interfaces = self.state.visible::<NetworkInterface>(self.account);
                let text = attachment_text(text);
                let plugged = |x: &&std::sync::Arc<NetworkInterface>| {
                    x.attachment.is_some_and(|attachment| attachment.id.to_string() == text)
                };
                interfaces.find(plugged).map(|interface| interface.id.into()).into_iter().collect()
            }
        };
        if ids.is_empty() { unknown() } else { ids.into_iter().map(|id| self.target(id)).collect() }
    }

    /// What a link links, by its id.
    fn associated(&self, text: &str) -> Vec<ResourceId> {
        if let Ok(id) = text.parse() {
            return match find_association(self.state, self.account, id) {
                Ok((Associated::Subnet(subnet), table)) => vec![table.into(), subnet.into()],
                Ok((Associated::Main(_), table)) => vec![table.into()],
                Err(_) => Vec::new(),
            };
        }
        let mut addresses = self.state.visible::<postern_model::gateway::Address>(self.account);
        let address = addresses.find_map(|address| {
            let association = address.association.filter(|a| a.id.to_string() == text)?;
            Some(vec![address.id.into(), association.interface.into()])
        });
        let acl = || {
            let mut subnets = self.state.visible::<postern_model::subnet::Subnet>(self.account);
            let found = subnets.find(|subnet| subnet.network_acl_association.to_string() == text);
            found.map(|subnet| vec![subnet.network_acl.into(), subnet.id.into()])
        };
        let block = || {
            let mut vpcs = self.state.visible::<postern_model::vpc::Vpc>(self.account);
            let found = vpcs.find(|vpc| vpc.blocks.iter().any(|b| b.association.to_string() == text));
            found.map(|vpc| vec![vpc.id.into()])
        };
        let profile = || {
            let mut instances = self.state.visible::<postern_model::instance::Instance>(self.account);
            let linked = |i: &&std::sync::Arc<postern_model::instance::Instance>| {
                i.profile.as_ref().is_some_and(|(id, _)| id.to_string() == text)
            };
            instances.find(linked).map(|instance| vec![instance.id.into()])
        };
        address.or_else(acl).or_else(block).or_else(profile).unwrap_or_default()
    }

    fn target(&self, id: ResourceId) -> Target {
        let tags = tags_of(self.state, self.account, id).unwrap_or_default();
        let kind = super::tag::kind_of(id);
        let arn = match id {
            ResourceId::KeyPair(key) => {
                let pair = self.state.get::<postern_model::instance::KeyPair>(self.account, key);
                self.arn(kind, &pair.map_or_else(|_| "*".to_owned(), |pair| pair.name.clone()))
            }
            ResourceId::PrefixList(list) => {
                let managed =
                    self.state.get::<PrefixList>(self.account, list).is_ok_and(|l| l.owner.is_none());
                if managed {
                    format!("arn:aws:ec2:{}:aws:{kind}/{id}", self.state.region.name)
                } else {
                    self.arn(kind, &id.to_string())
                }
            }
            ResourceId::Vpc(_)
            | ResourceId::Subnet(_)
            | ResourceId::RouteTable(_)
            | ResourceId::InternetGateway(_)
            | ResourceId::NatGateway(_)
            | ResourceId::VpcPeeringConnection(_)
            | ResourceId::CustomerGateway(_)
            | ResourceId::VpnGateway(_)
            | ResourceId::VpnConnection(_)
            | ResourceId::TransitGateway(_)
            | ResourceId::TransitGatewayAttachment(_)
            | ResourceId::TransitGatewayRouteTable(_)
            | ResourceId::Address(_)
            | ResourceId::NetworkInterface(_)
            | ResourceId::SecurityGroup(_)
            | ResourceId::SecurityGroupRule(_)
            | ResourceId::NetworkAcl(_)
            | ResourceId::VpcEndpoint(_)
            | ResourceId::EndpointService(_)
            | ResourceId::ConnectionNotification(_)
            | ResourceId::LoadBalancer(_)
            | ResourceId::Listener(_)
            | ResourceId::TargetGroup(_)
            | ResourceId::ResolverEndpoint(_)
            | ResourceId::Instance(_)
            | ResourceId::DhcpOptions(_) => self.arn(kind, &id.to_string()),
        };
        let mut keys = resource_keys::of(self.state, self.account, id);
        let service = keys.iter().find(|(key, _)| *key == "ec2:VpceServiceName");
        let owner = service.and_then(|(_, name)| self.owner_of_service(name));
        keys.extend(owner.map(|owner| ("ec2:VpceServiceOwner", owner)));
        Target { arn, tags, keys }
    }
}

/// The tags of a resource of the account.
fn tags_of(state: &State, account: AccountId, id: ResourceId) -> Option<Tags> {
    fn of<R: Resource>(state: &State, account: AccountId, id: R::Id) -> Option<Tags> {
        state.get::<R>(account, id).ok().map(|resource| resource.tags().clone())
    }
    match id {
        ResourceId::Vpc(id) => of::<postern_model::vpc::Vpc>(state, account, id),
        ResourceId::Subnet(id) => of::<postern_model::subnet::Subnet>(state, account, id),
        ResourceId::RouteTable(id) => of::<postern_model::route::RouteTable>(state, account, id),
        ResourceId::InternetGateway(id) => of::<postern_model::gateway::InternetGateway>(state, account, id),
        ResourceId::NatGateway(id) => of::<postern_model::gateway::NatGateway>(state, account, id),
        ResourceId::VpcPeeringConnection(id) => {
            let found = state.get::<postern_model::peering::VpcPeeringConnection>(account, id).ok();
            found.map(|peering| peering.tags_of(account).clone())
        }
        ResourceId::CustomerGateway(id) => of::<postern_model::vpn::CustomerGateway>(state, account, id),
        ResourceId::VpnGateway(id) => of::<postern_model::vpn::VpnGateway>(state, account, id),
        ResourceId::VpnConnection(id) => of::<postern_model::vpn::VpnConnection>(state, account, id),
        ResourceId::TransitGateway(id) => of::<postern_model::transit::TransitGateway>(state, account, id),
        ResourceId::TransitGatewayAttachment(id) => {
            of::<postern_model::transit::TransitGatewayAttachment>(state, account, id)
        }
        ResourceId::TransitGatewayRouteTable(id) => {
            of::<postern_model::transit::TransitGatewayRouteTable>(state, account, id)
        }
        ResourceId::Address(id) => of::<postern_model::gateway::Address>(state, account, id),
        ResourceId::NetworkInterface(id) => of::<NetworkInterface>(state, account, id),
        ResourceId::SecurityGroup(id) => {
            of::<postern_model::security_group::SecurityGroup>(state, account, id)
        }
        ResourceId::SecurityGroupRule(id) => {
            let mut groups = state.visible::<postern_model::security_group::SecurityGroup>(account);
            groups.find_map(|group| group.rules.get(&id).map(|rule| rule.tags.clone()))
        }
        ResourceId::NetworkAcl(id) => of::<postern_model::network_acl::NetworkAcl>(state, account, id),
        ResourceId::PrefixList(id) => of::<PrefixList>(state, account, id),
        ResourceId::VpcEndpoint(id) => of::<postern_model::endpoint::VpcEndpoint>(state, account, id),
        ResourceId::EndpointService(id) => {
            of::<postern_model::endpoint_service::EndpointService>(state, account, id)
        }
        ResourceId::ConnectionNotification(_) => None,
        ResourceId::LoadBalancer(id) => of::<postern_model::elb::LoadBalancer>(state, account, id),
        ResourceId::Listener(id) => of::<postern_model::elb::Listener>(state, account, id),
        ResourceId::TargetGroup(id) => of::<postern_model::elb::TargetGroup>(state, account, id),
        ResourceId::ResolverEndpoint(id) => {
            of::<postern_model::resolver_endpoint::ResolverEndpoint>(state, account, id)
        }
        ResourceId::Instance(id) => of::<postern_model::instance::Instance>(state, account, id),
        ResourceId::DhcpOptions(id) => of::<postern_model::vpc::DhcpOptions>(state, account, id),
        ResourceId::KeyPair(id) => of::<postern_model::instance::KeyPair>(state, account, id),
    }
}
