//! AWS's managed policies that can be attached here.
//!
//! Only those whose whole grant is known are served; their documents say what AWS documents that they grant. Of
//! another one there is nothing to be attached, and saying so is better than granting something else.
//! Source: the AWS managed policy reference guide.

/// A policy that AWS made.
#[derive(Debug)]
pub struct AwsPolicy {
    /// The last part of its ARN.
    pub name: &'static str,
    /// Its unique id here.
    pub id: &'static str,
    /// What it says.
    pub document: &'static str,
}

impl AwsPolicy {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("{ARN_PREFIX}{}", self.name)
    }
}

/// What the ARNs of AWS's own policies start with.
pub const ARN_PREFIX: &str = "arn:aws:iam::aws:policy/";

/// All of them, by name.
pub const ALL: [AwsPolicy; 6] = [
    AwsPolicy {
        name: "AdministratorAccess",
        id: "ANPAPOSTERNAWSADMIN01",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    },
    AwsPolicy {
        name: "AmazonDynamoDBFullAccess",
        id: "ANPAPOSTERNAWSDYNDB01",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":["dynamodb:*","dax:*","#,
            r#""application-autoscaling:DeleteScalingPolicy","application-autoscaling:DeregisterScalableTarget","#,
            r#""application-autoscaling:DescribeScalableTargets","#,
            r#""application-autoscaling:DescribeScalingActivities","#,
            r#""application-autoscaling:DescribeScalingPolicies","application-autoscaling:PutScalingPolicy","#,
            r#""application-autoscaling:RegisterScalableTarget","cloudwatch:DeleteAlarms","#,
            r#""cloudwatch:DescribeAlarmHistory","cloudwatch:DescribeAlarms","cloudwatch:DescribeAlarmsForMetric","#,
            r#""cloudwatch:GetMetricStatistics","cloudwatch:ListMetrics","cloudwatch:PutMetricAlarm","#,
            r#""ec2:DescribeVpcs","ec2:DescribeSubnets","ec2:DescribeSecurityGroups","iam:GetRole","iam:ListRoles","#,
            r#""kms:DescribeKey","kms:ListAliases","sns:ListTopics","lambda:ListFunctions"]}]}"#
        ),
    },
    AwsPolicy {
        name: "AmazonEC2FullAccess",
        id: "ANPAPOSTERNAWSEC2FA01",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":["#,
            r#"{"Effect":"Allow","Action":"ec2:*","Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"elasticloadbalancing:*","Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"cloudwatch:*","Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"autoscaling:*","Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","#,
            r#""Condition":{"StringEquals":{"iam:AWSServiceName":["autoscaling.amazonaws.com","#,
            r#""ec2scheduled.amazonaws.com","elasticloadbalancing.amazonaws.com","spot.amazonaws.com","#,
            r#""spotfleet.amazonaws.com","transitgateway.amazonaws.com"]}}}]}"#
        ),
    },
    AwsPolicy {
        name: "AmazonEC2ReadOnlyAccess",
        id: "ANPAPOSTERNAWSEC2RO01",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":["#,
            r#"{"Effect":"Allow","Action":["ec2:Describe*","ec2:GetSecurityGroupsForVpc"],"Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"elasticloadbalancing:Describe*","Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":["cloudwatch:ListMetrics","cloudwatch:GetMetricStatistics","#,
            r#""cloudwatch:Describe*"],"Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"autoscaling:Describe*","Resource":"*"}]}"#
        ),
    },
    AwsPolicy {
        name: "AmazonS3FullAccess",
        id: "ANPAPOSTERNAWSS3FUL01",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","s3-object-lambda:*"],"#,
            r#""Resource":"*"}]}"#
        ),
    },
    AwsPolicy {
        name: "AmazonS3ReadOnlyAccess",
        id: "ANPAPOSTERNAWSS3RDO01",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","#,
            r#""s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}"#
        ),
    },
];

/// The policy of this ARN.
pub fn find(arn: &str) -> Option<&'static AwsPolicy> {
    let name = arn.strip_prefix(ARN_PREFIX)?;
    ALL.iter().find(|policy| policy.name == name)
}

#[cfg(test)]
mod tests {
    use postern_policy::{Kind, PolicyDocument};

    use super::*;

    #[test]
    fn all_of_them_can_be_read() {
        for policy in &ALL {
            let read = PolicyDocument::parse(policy.document, Kind::Identity);
            assert!(read.is_ok(), "{}: {:?}", policy.name, read.err());
            assert_eq!(find(&policy.arn()).map(|found| found.name), Some(policy.name));
            assert_eq!(policy.id.len(), 21);
        }
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(find("arn:aws:iam::aws:policy/ReadOnlyAccess").is_none());
    }
}
