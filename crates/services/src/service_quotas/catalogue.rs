//! AWS's codes and names of the quotas that are enforced here.
//!
//! Codes and names from "Amazon VPC quotas", "Amazon EC2 endpoints and quotas" and "Quotas for your Network Load
//! Balancers". Quotas without a code of AWS's (prefix lists, endpoint services, sets of DHCP options, key pairs) are the
//! operator's alone.

use postern_model::Quota;

/// A quota as AWS lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// `vpc`.
    pub service: &'static str,
    /// `L-F678F1CE`.
    pub code: &'static str,
    /// `VPCs per Region`.
    pub name: &'static str,
    /// What is enforced.
    pub quota: Quota,
    /// Whether it can be raised.
    pub adjustable: bool,
}

const fn entry(service: &'static str, code: &'static str, name: &'static str, quota: Quota) -> Entry {
    Entry { service, code, name, quota, adjustable: true }
}

const VPC: &str = "vpc";
const EC2: &str = "ec2";
const ELB: &str = "elasticloadbalancing";
const RESOLVER: &str = "route53resolver";

/// The services that have quotas here, and what they are called.
pub const SERVICES: [(&str, &str); 4] = [
    (EC2, "Amazon Elastic Compute Cloud (Amazon EC2)"),
    (ELB, "Elastic Load Balancing (ELB)"),
    (RESOLVER, "Amazon Route 53 Resolver"),
    (VPC, "Amazon Virtual Private Cloud (Amazon VPC)"),
];

/// All of them.
pub const ENTRIES: &[Entry] = &[
    entry(VPC, "L-F678F1CE", "VPCs per Region", Quota::Vpcs),
    // "Increasing this quota increases the quota on internet gateways per Region by the same amount": they are one here.
    entry(VPC, "L-A4707A72", "Internet gateways per Region", Quota::Vpcs),
    entry(VPC, "L-407747CB", "Subnets per VPC", Quota::Subnets),
    entry(VPC, "L-83CA0A9D", "IPv4 CIDR blocks per VPC", Quota::VpcBlocks),
    entry(VPC, "L-FE5A380F", "NAT gateways per Availability Zone", Quota::NatGateways),
    entry(VPC, "L-589F43AA", "Route tables per VPC", Quota::RouteTables),
    entry(VPC, "L-93826ACB", "Routes per route table", Quota::Routes),
    entry(VPC, "L-B4A6D682", "Network ACLs per VPC", Quota::NetworkAcls),
    entry(VPC, "L-2AEEBF1A", "Rules per network ACL", Quota::NetworkAclRules),
    entry(VPC, "L-E79EC296", "VPC security groups per Region", Quota::SecurityGroups),
    entry(VPC, "L-0EA8095F", "Inbound or outbound rules per security group", Quota::SecurityGroupRules),
    entry(VPC, "L-2AFB9258", "Security groups per network interface", Quota::GroupsPerInterface),
    entry(VPC, "L-DF5E4CA3", "Network interfaces per Region", Quota::Interfaces),
    entry(VPC, "L-1B52E74A", "Gateway VPC endpoints per Region", Quota::GatewayEndpoints),
    entry(VPC, "L-29B6F2EB", "Interface VPC endpoints per VPC", Quota::InterfaceEndpoints),
    entry(EC2, "L-0263D0A3", "EC2-VPC Elastic IPs", Quota::ElasticAddresses),
    entry(EC2, "L-A2478D36", "Transit gateways per account", Quota::TransitGateways),
    entry(ELB, "L-69A177A2", "Network Load Balancers per Region", Quota::LoadBalancers),
    Entry {
        adjustable: false,
        ..entry(ELB, "L-57A373D6", "Listeners per Network Load Balancer", Quota::Listeners)
    },
    entry(ELB, "L-B22855CB", "Target Groups per Region", Quota::TargetGroups),
    entry(ELB, "L-A0D0B863", "Targets per Target Group per Region", Quota::TargetsOfGroup),
    entry(RESOLVER, "L-4A669CC0", "Resolver endpoints per AWS Region", Quota::ResolverEndpoints),
    entry(RESOLVER, "L-D2FE9758", "IP addresses per resolver endpoint", Quota::ResolverAddresses),
    entry(ELB, "L-EEF1AD04", "Targets per Network Load Balancer", Quota::TargetsOfLoadBalancer),
];

/// What a service is called, if it has quotas here.
pub fn service_name(code: &str) -> Option<&'static str> {
    SERVICES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// The quota of these codes.
pub fn find(service: &str, code: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.service == service && entry.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_belongs_to_a_service() {
        for entry in ENTRIES {
            assert_eq!(ENTRIES.iter().filter(|other| other.code == entry.code).count(), 1, "{}", entry.code);
            assert!(service_name(entry.service).is_some());
            let digits = entry.code.strip_prefix("L-").unwrap();
            assert!(
                digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
            );
        }
    }
}
