//! What an account may have: `DescribeAccountLimits`.

use postern_model::{Quota, quota};
use postern_wire::elbv2::*;

use super::page::page;
use super::{Call, Outcome};

/// AWS's names for the quotas that are kept here.
const LIMITS: &[(&str, Quota)] = &[
    ("network-load-balancers", Quota::LoadBalancers),
    ("listeners-per-network-load-balancer", Quota::Listeners),
    ("target-groups", Quota::TargetGroups),
    ("targets-per-network-load-balancer", Quota::TargetsOfLoadBalancer),
    ("targets-per-target-group", Quota::TargetsOfGroup),
];

impl Call<'_> {
    pub(super) fn describe_account_limits(
        &self,
        request: DescribeAccountLimitsInput,
    ) -> Outcome<DescribeAccountLimitsOutput> {
        let DescribeAccountLimitsInput { marker, page_size } = request;
        let limit = |(name, of): &(&str, Quota)| {
            let max = quota::limit(&self.state, self.account, *of).to_string();
            ((*name).to_owned(), Limit { max: Some(max), name: Some((*name).to_owned()) })
        };
        let all = LIMITS.iter().map(limit).collect();
        let (limits, next_marker) = page(all, marker.as_deref(), page_size)?;
        Ok(DescribeAccountLimitsOutput { limits, next_marker })
    }
}
