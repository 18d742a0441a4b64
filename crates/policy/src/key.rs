//! The name of a condition key, prepared for looking it up.

use std::sync::Arc;

use crate::hash::hash;

/// A key of a condition or a policy variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    written: Arc<str>,
    lower_case: Box<str>,
    hash: u64,
    source: Source,
}

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    PrincipalIsAwsService,
    PrincipalServiceName,
    UserName,
    /// From the principal if it says so, else from the context.
    UserId,
    /// From the request if it says so, else from the context.
    ResourceAccount,
    /// From the context, but for an anonymous caller, who has no organization and no tags.
    OfSomebody,
    Context,
}

impl Source {
    fn of(lower_case_key: &str) -> Self {
        match lower_case_key {
            "aws:principalarn" => Self::PrincipalArn,
            "aws:principalaccount" => Self::PrincipalAccount,
            "aws:principaltype" => Self::PrincipalType,
            "aws:principalisawsservice" => Self::PrincipalIsAwsService,
            "aws:principalservicename" => Self::PrincipalServiceName,
            "aws:username" => Self::UserName,
            "aws:userid" => Self::UserId,
            "aws:resourceaccount" => Self::ResourceAccount,
            "aws:principalorgid" | "aws:principalorgpaths" => Self::OfSomebody,
            tag if tag.starts_with("aws:principaltag/") => Self::OfSomebody,
            _ => Self::Context,
        }
    }

    /// Whether the context is never asked.
    pub(crate) fn is_derived(self) -> bool {
        match self {
            Self::PrincipalArn
            | Self::PrincipalAccount
            | Self::PrincipalType
            | Self::PrincipalIsAwsService
            | Self::PrincipalServiceName
            | Self::UserName => true,
            Self::UserId | Self::ResourceAccount | Self::OfSomebody | Self::Context => false,
        }
    }
}

impl Key {
    pub(crate) fn new(written: &str) -> Self {
        let lower_case = written.to_lowercase();
        Self {
            written: Arc::from(written),
            hash: hash(&lower_case),
            source: Source::of(&lower_case),
            lower_case: lower_case.into(),
        }
    }

    /// As it stands in the document.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// [`written`](Self::written), to keep.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.written)
    }

    pub(crate) fn lower_case(&self) -> &str {
        &self.lower_case
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn source(&self) -> Source {
        self.source
    }
}
