//! Security groups, network ACLs and prefix lists.

use postern_model::network_acl::AclEntry;
use postern_model::prefix_list::{NewPrefixList, PrefixListChange};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, Traffic};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about security groups, network ACLs or prefix lists, if this is a kind of them.
    pub(super) fn security_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateSecurityGroup" => Action::CreateSecurityGroup {
                vpc: self.vpc(),
                name: self.name(),
                description: "a group".to_owned(),
                tags: self.tags(),
            },
            "DeleteSecurityGroup" => Action::DeleteSecurityGroup { group: self.group() },
            "AuthorizeSecurityGroup" => {
                let group = self.group();
                let rules = (0..1 + self.random.below(2))
                    .map(|_| NewRule { permission: self.permission(group), description: String::new() })
                    .collect();
                Action::AuthorizeSecurityGroup { group, rules, tags: self.tags() }
            }
            "RevokeSecurityGroup" => {
                let group = self.group();
                let (id, permission) = self.existing_rule(group);
                let permission = permission.unwrap_or_else(|| self.permission(group));
                let rules = if self.random.chance(50) {
                    RuleChoice::Ids(vec![id])
                } else {
                    RuleChoice::Permissions(vec![permission])
                };
                Action::RevokeSecurityGroup { group, egress: permission.egress, rules }
            }
            "ModifySecurityGroupRule" => {
                let group = self.group();
                let (rule, current) = self.existing_rule(group);
                let mut permission = self.permission(group);
                permission.egress = current.map_or(permission.egress, |current| current.egress);
                let new = NewRule { permission, description: "new".to_owned() };
                Action::ModifySecurityGroupRule { group, rule, new }
            }
            "CreateNetworkAcl" => Action::CreateNetworkAcl { vpc: self.vpc(), tags: self.tags() },
            "DeleteNetworkAcl" => Action::DeleteNetworkAcl { acl: self.acl() },
            "CreateNetworkAclEntry" => Action::CreateNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                entry: self.acl_entry(),
            },
            "ReplaceNetworkAclEntry" => Action::ReplaceNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                entry: self.acl_entry(),
            },
            "DeleteNetworkAclEntry" => Action::DeleteNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                number: self.random.of(&[1, 2, 3, 100]),
            },
            "ReplaceNetworkAclAssociation" => {
                let account = self.account;
                let all = self.state.subnets.values();
                let all: Vec<_> = all.map(|x| (x.owner == account, x.network_acl_association)).collect();
                let association = self.choose(&all, NetworkAclAssociationId::from_number);
                Action::ReplaceNetworkAclAssociation { association, acl: self.acl() }
            }
            "CreateManagedPrefixList" => Action::CreateManagedPrefixList(NewPrefixList {
                name: self.name(),
                ipv6: self.random.chance(5),
                max_entries: self.random.of(&[1, 5, 10, 0]),
                entries: self.entries(),
                tags: self.tags(),
            }),
            "ModifyManagedPrefixList" => {
                let list = self.list();
                let current_version = self.state.prefix_lists.get(&list).map(|list| list.version);
                let resize = self.random.chance(30);
                let change = PrefixListChange {
                    current_version,
                    name: None,
                    max_entries: resize.then_some(8),
                    add: if resize { Vec::new() } else { self.entries() },
                    remove: Vec::new(),
                };
                Action::ModifyManagedPrefixList { list, change }
            }
            "RestoreManagedPrefixListVersion" => {
                // Everybody sees AWS's own lists, and nobody changes them.
                let account = self.account;
                let all = self.state.prefix_lists.values();
                let all: Vec<_> = all.filter_map(|list| Some((list.owner? == account, list.id))).collect();
                let list = self.choose(&all, PrefixListId::from_number);
                let current = self.state.prefix_lists.get(&list).map_or(1, |list| list.version);
                Action::RestoreManagedPrefixListVersion { list, previous: 1, current }
            }
            "DeleteManagedPrefixList" => Action::DeleteManagedPrefixList { list: self.list() },
            _ => return None,
        })
    }

    pub(super) fn traffic(&mut self) -> Traffic {
        let from = self.random.of(&[22, 80, 443]);
        match self.random.below(6) {
            0 => Traffic::All,
            1 => Traffic::Tcp(from, from),
            2 => Traffic::Udp(53, 53),
            3 => Traffic::Icmp(None, None),
            4 => Traffic::Protocol(47),
            _ => Traffic::Tcp(from, 100),
        }
    }

    pub(super) fn permission(&mut self, group: SecurityGroupId) -> Permission {
        let vpc = self.state.security_groups.get(&group).map(|group| group.vpc);
        let sibling = self.state.security_groups.values().find(|g| Some(g.vpc) == vpc).map(|g| g.id);
        let peer = match (self.random.below(5), sibling) {
            (0..2, Some(id)) => Peer::Group(id),
            (2, _) => Peer::Group(self.group()),
            (3, _) => Peer::PrefixList(self.list()),
            _ => Peer::Cidr(
                self.random.of(&["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/8", "::/0"]).parse().unwrap(),
            ),
        };
        Permission { egress: self.random.chance(50), traffic: self.traffic(), peer }
    }

    pub(super) fn existing_rule(
        &mut self,
        group: SecurityGroupId,
    ) -> (SecurityGroupRuleId, Option<Permission>) {
        let rules: Vec<_> =
            self.state.security_groups.values().flat_map(|g| g.rules.values().map(move |r| (g, r))).collect();
        let of_group: Vec<_> =
            rules.iter().filter(|(g, _)| g.id == group).map(|(_, r)| (r.id, Some(r.permission))).collect();
        if !of_group.is_empty() && self.random.chance(80) {
            return self.random.of(&of_group);
        }
        let account = self.account;
        let all: Vec<_> = rules.iter().map(|(g, r)| (g.owner == account, r.id)).collect();
        (self.choose(&all, SecurityGroupRuleId::from_number), None)
    }

    pub(super) fn entries(&mut self) -> Vec<(IpNet, String)> {
        let count = self.random.below(4);
        (0..count)
            .map(|_| {
                let third = self.random.below(6);
                (format!("10.{third}.0.0/16").parse().unwrap(), String::new())
            })
            .collect()
    }

    pub(super) fn acl_entry(&mut self) -> AclEntry {
        AclEntry {
            number: self.random.of(&[0, 1, 2, 3, 32_766, 32_767]),
            allow: self.random.chance(50),
            traffic: self.traffic(),
            cidr: self.random.of(&["0.0.0.0/0", "10.0.0.5/8", "::/0"]).parse().unwrap(),
        }
    }
}
