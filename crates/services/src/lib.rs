//! What stands behind the front door, a folder for each service.

pub mod s3;
