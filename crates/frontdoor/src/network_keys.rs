//! The condition keys about the endpoint that a request came through, and for which services AWS has them.
//!
//! "This condition key is currently supported for a select set of AWS services" ("AWS global condition context keys",
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>): the lists below are that page's,
//! by the services' prefixes in policies.
//! INVARIANT: these keys follow from the [`Origin`], the endpoint's owner and the organization that is in alone.

use postern_model::AccountId;
use postern_path::Through;
use postern_policy::{Context, Value};

use crate::authorise::Ask;
use crate::caller::Origin;

/// Of `aws:SourceVpcArn`, `aws:VpceAccount`, `aws:VpceOrgID` and `aws:VpceOrgPaths`.
const ALL: &[&str] = &[
    "acm-pca",
    "apprunner",
    "applicationinsights",
    "athena",
    "cloudformation",
    "comprehendmedical",
    "compute-optimizer",
    "datasync",
    "discovery",
    "ebs",
    "ecr",
    "ecs",
    "firehose",
    "healthlake",
    "iam",
    "iotfleetwise",
    "iotwireless",
    "kinesisanalytics",
    "kms",
    "lambda",
    "medical-imaging",
    "omics",
    "payment-cryptography",
    "polly",
    "rbin",
    "rekognition",
    "route53",
    "s3",
    "scheduler",
    "servicediscovery",
    "servicequotas",
    "ssm-contacts",
    "storagegateway",
    "textract",
    "transcribe",
    "transfer",
];
/// Of those about the endpoint's owner, and not of `aws:SourceVpcArn`.
const OWNER: &[&str] = &["dynamodb", "gamelift", "shield"];
/// Of `aws:VpceOrgID` alone.
const ORGANIZATION: &[&str] = &[
    "b2bi",
    "cassandra",
    "cognito-identity",
    "dms",
    "ds-data",
    "identitystore",
    "iottwinmaker",
    "network-firewall",
    "pricing",
    "ses",
    "sms-voice",
    "sqs",
    "workmail",
];

/// A key that only some services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    SourceVpcArn,
    VpceAccount,
    VpceOrgId,
    VpceOrgPaths,
}

impl Key {
    /// Whether a request for this action has it, where it came through an endpoint.
    pub(crate) fn is_of(self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        // "AWS Identity and Access Management (except for the iam:PassRole action)".
        if action == "iam:passrole" {
            return false;
        }
        let prefix = action.split(':').next().unwrap_or_default();
        match self {
            Self::SourceVpcArn => ALL.contains(&prefix),
            Self::VpceAccount | Self::VpceOrgPaths => ALL.contains(&prefix) || OWNER.contains(&prefix),
            Self::VpceOrgId => [ALL, OWNER, ORGANIZATION].iter().any(|list| list.contains(&prefix)),
        }
    }
}

/// Sets what follows from the way of a request. `owner` is whose the endpoint is, which need not be who is behind the
/// connection: interface endpoints serve peered VPCs, too.
pub(crate) fn set(
    context: &mut Context,
    origin: &Origin,
    owner: Option<AccountId>,
    ask: &Ask,
    region: Option<&str>,
) {
    let Some(peer) = origin.peer else { return };
    let (endpoint, vpc) = match peer.through {
        Through::Endpoint(endpoint, vpc) => (endpoint, vpc),
        Through::Internet(_) | Through::Resolver(..) | Through::Link => return,
    };
    context.insert("aws:SourceVpce", Value::Text(endpoint.to_string()));
    context.insert("aws:SourceVpc", Value::Text(vpc.to_string()));
    context.insert("aws:VpcSourceIp", Value::Ip(peer.address.into()));
    let Some(owner) = owner else { return };
    if Key::VpceAccount.is_of(&ask.action) {
        context.insert("aws:VpceAccount", Value::Text(owner.to_string()));
    }
    if let Some(region) = region.filter(|_| Key::SourceVpcArn.is_of(&ask.action)) {
        // The endpoint's VPC is its owner's.
        let arn = format!("arn:aws:ec2:{region}:{owner}:vpc/{vpc}");
        context.insert("aws:SourceVpcArn", Value::Text(arn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_the_keys_that_aws_lists_for_it() {
        for (action, expected) in [
            ("s3:GetObject", [true, true, true, true]),
            ("S3:getobject", [true, true, true, true]),
            ("dynamodb:GetItem", [false, true, true, true]),
            ("iam:CreateUser", [true, true, true, true]),
            ("iam:PassRole", [false, false, false, false]),
            ("lambda:InvokeFunction", [true, true, true, true]),
            ("servicequotas:ListServices", [true, true, true, true]),
            ("sqs:SendMessage", [false, false, true, false]),
            ("ec2:DescribeVpcs", [false, false, false, false]),
            ("sts:AssumeRole", [false, false, false, false]),
            ("sns:Publish", [false, false, false, false]),
            ("logs:PutLogEvents", [false, false, false, false]),
            ("kinesis:PutRecord", [false, false, false, false]),
            ("elasticloadbalancing:DescribeLoadBalancers", [false, false, false, false]),
            ("cloudwatch:GetMetricData", [false, false, false, false]),
        ] {
            let keys = [Key::SourceVpcArn, Key::VpceAccount, Key::VpceOrgId, Key::VpceOrgPaths];
            assert_eq!(keys.map(|key| key.is_of(action)), expected, "{action}");
        }
    }
}
