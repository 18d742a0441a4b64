//! AWS's services of a region: their names, addresses and prefix lists, and what endpoints can lead to them.
//!
//! Which services have which endpoints, and under which names: "AWS services that integrate with AWS PrivateLink".

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::EndpointKind;
use crate::id::PrefixListId;
use crate::prefix_list::PrefixList;
use crate::state::Region;
use crate::tag::Tags;

/// A service that has a public name, and may have endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// For example `com.amazonaws.us-east-1.s3`.
    pub name: String,
    /// Its name in credential scopes, such as `s3`. Where services share one (`bedrock` and `bedrock-runtime`), a name of
    /// each one's own: requests are told apart by it.
    #[serde(default)]
    pub signing_name: String,
    /// The public names that resolve to it; a leading `*.` stands for any labels.
    pub dns_names: Vec<String>,
    /// The public addresses that those names resolve to.
    pub public_addresses: Vec<Ipv4Addr>,
    /// All the addresses it may have. Sorted; a prefix list has the same ones.
    pub public_blocks: Vec<Ipv4Net>,
    /// The prefix list of its blocks, for those that gateway endpoints can lead to.
    pub prefix_list: Option<PrefixListId>,
    /// Which kinds of endpoints can lead to it.
    pub endpoint_kinds: Vec<EndpointKind>,
    /// Whether an endpoint to it can have a policy.
    pub endpoint_policies: bool,
    /// What stands for it in the names of its interface endpoints, such as `kinesis` for `kinesis-streams`.
    #[serde(default)]
    pub endpoint_label: String,
    /// Whether the names of its interface endpoints are for what is below them: `bucket.vpce-…`.
    #[serde(default)]
    pub endpoint_names_below: bool,
    /// The names that lead to an interface endpoint with private DNS inside its VPC; a leading `*.` stands for any
    /// labels. None for a service without private DNS.
    #[serde(default)]
    pub private_dns_names: Vec<String>,
}

/// How a service is written down here.
struct Entry {
    /// The end of its name.
    short: &'static str,
    signing_name: &'static str,
    label: &'static str,
    /// Where its public addresses are.
    third_octet: u8,
    dns_names: Vec<String>,
    private_dns_names: Vec<String>,
    /// What the number of its prefix list is in us-east-1, for those that have one.
    prefix_list: Option<u64>,
    kinds: Vec<EndpointKind>,
}

/// All of them, and their prefix lists.
///
/// Their public addresses come from 198.19.0.0/16, the other half of the block that public addresses come from
/// ([`crate::gateway::PUBLIC_POOL_BASE`]).
pub(crate) fn catalogue(
    region: &Region,
) -> (OrdMap<String, Arc<Service>>, OrdMap<PrefixListId, Arc<PrefixList>>) {
    let (mut services, mut prefix_lists) = (OrdMap::new(), OrdMap::new());
    for entry in entries(&region.name) {
        let name = service_name(&region.name, entry.short);
        // What a gateway endpoint leads to has two blocks, and an address in each. More would make clients without a
        // way there try for longer: each address is waited for.
        let (blocks, addresses) = match entry.prefix_list {
            Some(_) => (
                vec![block(entry.third_octet, 22), block(entry.third_octet + 4, 22)],
                [0, 4].map(|n| Ipv4Addr::new(198, 19, entry.third_octet + n, 10)).to_vec(),
            ),
            None => (vec![block(entry.third_octet, 24)], public_addresses(entry.third_octet)),
        };
        let prefix_list = entry.prefix_list.map(|number| {
            let id = PrefixListId::from_number(prefix_list_number(&region.name, number));
            prefix_lists.insert(id, Arc::new(managed_list(id, &name, &blocks)));
            id
        });
        let service = Service {
            name: name.clone(),
            signing_name: entry.signing_name.to_owned(),
            dns_names: entry.dns_names,
            public_addresses: addresses,
            public_blocks: blocks,
            prefix_list,
            endpoint_policies: !entry.kinds.is_empty(),
            endpoint_kinds: entry.kinds,
            endpoint_label: entry.label.to_owned(),
            endpoint_names_below: entry.short == "s3",
            private_dns_names: entry.private_dns_names,
        };
        services.insert(name, Arc::new(service));
    }
    (services, prefix_lists)
}

/// `com.amazonaws.us-east-1.s3`. IAM's is the one without a region: it has its endpoints in one for all.
fn service_name(region: &str, short: &str) -> String {
    match short {
        "iam" => "com.amazonaws.iam".to_owned(),
        _ => format!("com.amazonaws.{region}.{short}"),
    }
}

fn entries(region: &str) -> Vec<Entry> {
    use EndpointKind::{Gateway, Interface};
    let of_region = |name: &str| format!("{name}.{region}.amazonaws.com");
    let global = |name: &str| format!("{name}.amazonaws.com");
    let plain = |short, signing_name: &'static str, third_octet, also: &[String]| Entry {
        short,
        signing_name,
        label: signing_name,
        third_octet,
        dns_names: [&[of_region(signing_name)], also].concat(),
        private_dns_names: vec![of_region(signing_name)],
        prefix_list: None,
        kinds: vec![Interface],
    };
    let more = (FIRST_OF_MORE..).zip(MORE).map(|(third_octet, (short, signing_name, label))| {
        let names = || vec![of_region(label)];
        let label = *label;
        Entry {
            label,
            dns_names: names(),
            private_dns_names: names(),
            ..plain(short, signing_name, third_octet, &[])
        }
    });
    let s3 = ["s3", "s3-accesspoint", "s3-control"].map(of_region);
    let mut entries = vec![
        // The ids of us-east-1 are AWS's own.
        Entry {
            short: "s3",
            signing_name: "s3",
            label: "s3",
            third_octet: 0,
            dns_names: [of_region("s3"), of_region("*.s3"), global("s3"), global("*.s3")].to_vec(),
            private_dns_names: s3.iter().flat_map(|name| [name.clone(), format!("*.{name}")]).collect(),
            prefix_list: Some(0x63a5_400a),
            kinds: vec![Gateway, Interface],
        },
        // "AWS PrivateLink for Amazon DynamoDB does not support … private and hybrid DNS".
        Entry {
            private_dns_names: Vec::new(),
            prefix_list: Some(0x02cd_2c6b),
            kinds: vec![Gateway, Interface],
            // What accounts have for themselves ("Account-based endpoints").
            ..plain("dynamodb", "dynamodb", 16, &[of_region("*.ddb")])
        },
        plain("ec2", "ec2", 128, &[global("ec2")]),
        plain("sts", "sts", 129, &[global("sts")]),
        // "You can create an interface endpoint for IAM in us-east-1 only."
        Entry {
            dns_names: vec![global("iam")],
            private_dns_names: vec![global("iam")],
            kinds: if region == "us-east-1" { vec![Interface] } else { Vec::new() },
            ..plain("iam", "iam", 130, &[])
        },
        plain("elasticloadbalancing", "elasticloadbalancing", 131, &[]),
        plain("logs", "logs", 132, &[]),
        plain("kinesis-streams", "kinesis", 133, &[]),
        plain("monitoring", "monitoring", 134, &[]),
        // Each API has a name of its own.
        Entry {
            dns_names: vec![of_region("*.execute-api")],
            private_dns_names: vec![of_region("*.execute-api")],
            ..plain("execute-api", "execute-api", 135, &[])
        },
        // Each account's registry has a name of its own. Docker's protocol has no credential scopes.
        Entry {
            label: "dkr.ecr",
            dns_names: vec![of_region("dkr.ecr"), of_region("*.dkr.ecr")],
            private_dns_names: vec![of_region("dkr.ecr"), of_region("*.dkr.ecr")],
            ..plain("ecr.dkr", "ecr-dkr", 136, &[])
        },
    ];
    entries.extend(more);
    entries.extend((FIRST_WITHOUT_ENDPOINTS..).zip(WITHOUT_ENDPOINTS).map(|(third_octet, name)| Entry {
        private_dns_names: Vec::new(),
        kinds: Vec::new(),
        ..plain(name, name, third_octet, &[])
    }));
    entries
}

/// Where the addresses of [`WITHOUT_ENDPOINTS`] begin.
const FIRST_WITHOUT_ENDPOINTS: u8 = 120;
/// Services that are reached over the internet alone: the page names no endpoints for them.
const WITHOUT_ENDPOINTS: &[&str] = &["route53resolver", "servicequotas"];

/// Where the addresses of [`MORE`] begin.
const FIRST_OF_MORE: u8 = 137;
/// Further services: the end of the name, the name in credential scopes, and what stands before the region in the name
/// that private DNS takes over.
const MORE: &[(&str, &str, &str)] = &[
    ("access-analyzer", "access-analyzer", "access-analyzer"),
    ("acm-pca", "acm-pca", "acm-pca"),
    ("application-autoscaling", "application-autoscaling", "application-autoscaling"),
    ("athena", "athena", "athena"),
    ("autoscaling", "autoscaling", "autoscaling"),
    ("backup", "backup", "backup"),
    ("batch", "batch", "batch"),
    ("bedrock", "bedrock", "bedrock"),
    ("bedrock-runtime", "bedrock-runtime", "bedrock-runtime"),
    ("cloudformation", "cloudformation", "cloudformation"),
    ("cloudtrail", "cloudtrail", "cloudtrail"),
    ("codebuild", "codebuild", "codebuild"),
    ("codedeploy", "codedeploy", "codedeploy"),
    ("codepipeline", "codepipeline", "codepipeline"),
    ("config", "config", "config"),
    ("datasync", "datasync", "datasync"),
    ("ebs", "ebs", "ebs"),
    ("ec2messages", "ec2messages", "ec2messages"),
    ("ecr.api", "ecr", "api.ecr"),
    ("ecs", "ecs", "ecs"),
    ("ecs-agent", "ecs-agent", "ecs-a"),
    ("ecs-telemetry", "ecs-telemetry", "ecs-t"),
    ("eks", "eks", "eks"),
    ("elasticache", "elasticache", "elasticache"),
    ("elasticfilesystem", "elasticfilesystem", "elasticfilesystem"),
    ("elasticmapreduce", "elasticmapreduce", "elasticmapreduce"),
    ("events", "events", "events"),
    ("fsx", "fsx", "fsx"),
    ("glue", "glue", "glue"),
    ("kinesis-firehose", "firehose", "firehose"),
    ("kms", "kms", "kms"),
    ("lakeformation", "lakeformation", "lakeformation"),
    ("lambda", "lambda", "lambda"),
    ("rds", "rds", "rds"),
    ("rds-data", "rds-data", "rds-data"),
    ("redshift", "redshift", "redshift"),
    ("redshift-data", "redshift-data", "redshift-data"),
    ("sagemaker.api", "sagemaker", "api.sagemaker"),
    ("scheduler", "scheduler", "scheduler"),
    ("secretsmanager", "secretsmanager", "secretsmanager"),
    ("securityhub", "securityhub", "securityhub"),
    ("servicediscovery", "servicediscovery", "servicediscovery"),
    ("sns", "sns", "sns"),
    ("sqs", "sqs", "sqs"),
    ("ssm", "ssm", "ssm"),
    ("ssmmessages", "ssmmessages", "ssmmessages"),
    ("states", "states", "states"),
    ("sync-states", "sync-states", "sync-states"),
    ("synthetics", "synthetics", "synthetics"),
    ("textract", "textract", "textract"),
    ("transcribe", "transcribe", "transcribe"),
    ("transfer", "transfer", "transfer"),
    ("xray", "xray", "xray"),
];

fn managed_list(id: PrefixListId, name: &str, blocks: &[Ipv4Net]) -> PrefixList {
    PrefixList {
        id,
        owner: None,
        name: name.to_owned(),
        ipv6: false,
        entries: blocks.iter().map(|cidr| (IpNet::V4(*cidr), String::new())).collect(),
        max_entries: 2,
        version: 1,
        history: Default::default(),
        tags: Tags::new(),
    }
}

/// The addresses of a service that only interface endpoints lead to.
pub(super) fn public_addresses(third_octet: u8) -> Vec<Ipv4Addr> {
    (1..=2).map(|n| Ipv4Addr::new(198, 19, third_octet, 10 * n)).collect()
}

pub(super) fn block(third_octet: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(198, 19, third_octet, 0), length).unwrap_or_default()
}

/// AWS's number in us-east-1, another one (FNV-1a of the region) elsewhere; eight digits.
fn prefix_list_number(region: &str, in_us_east_1: u64) -> u64 {
    if region == "us-east-1" {
        return in_us_east_1;
    }
    let hash =
        region.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash ^ (in_us_east_1 & 0xffff_ffff) as u32)
}
