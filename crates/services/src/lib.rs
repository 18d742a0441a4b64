//! What stands behind the front door, a folder for each service.

pub mod access_analyzer;
mod bucket_policy;
pub mod commands;
pub mod directory;
pub mod dynamodb;
pub mod ec2;
pub mod elbv2;
pub mod iam;
pub mod imds;
mod json_requests;
mod malformed;
pub mod monitoring;
pub mod organizations;
pub mod route53_resolver;
pub mod s3;
pub mod s3_gate;
pub mod service_quotas;
pub mod sns;
pub mod sts;
pub mod upstream;
