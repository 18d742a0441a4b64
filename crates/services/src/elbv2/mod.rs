//! Elastic Load Balancing, version 2, over the region's commands: network load balancers, their listeners, their target
//! groups and targets.
//!
//! INVARIANT: every parameter of a served operation is honoured or refused by its name.
//! INVARIANT: a request sees the caller's account alone: an ARN of another account is answered as one that was never
//! given.

mod arn;
mod ask;
mod attribute;
mod error;
pub mod health;
mod health_check;
mod limit;
mod listener;
mod load_balancer;
mod page;
mod tag;
mod target;
mod target_group;

use std::sync::Arc;

use postern_frontdoor::service::Serving;
use postern_frontdoor::{Answer, Ask, Caller, Origin, Permit, QueryRequest, QueryService, Refusal};
use postern_model::elb::ElbAction;
use postern_model::{AccountId, Action, State};
use postern_wire::elbv2::{self, Request, op};
use postern_wire::error::ErrorStyle;
use postern_wire::query::{Form, Limits};
use postern_wire::shape::Protocol;
use postern_wire::{AwsError, Operation, Structure};

pub(crate) use self::arn::{load_balancer as load_balancer_arn, read_load_balancer};

use self::health::Health;
use crate::commands::{Commands, Done};

/// Elastic Load Balancing.
pub struct ElbService {
    commands: Arc<dyn Commands>,
    health: Arc<dyn Health>,
}

impl ElbService {
    /// Over the region's commands, and what is known of its targets.
    pub fn new(commands: Arc<dyn Commands>, health: Arc<dyn Health>) -> Self {
        Self { commands, health }
    }
}

type Outcome<T> = Result<T, AwsError>;

fn decode(request: &QueryRequest) -> Outcome<Request> {
    let form = Form::parse("", &request.body, Limits::DEFAULT);
    let decoded = form.map_err(Into::into).and_then(|form| Request::decode(&form));
    decoded.map_err(|error| error.to_aws(Protocol::Query))
}

fn account_of(caller: &Caller) -> Outcome<AccountId> {
    caller.account.ok_or_else(|| AwsError::new("AccessDenied", "Access Denied").with_status(403))
}

impl QueryService for ElbService {
    fn signing_name(&self) -> &'static str {
        elbv2::SERVICE.name
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Query { xml_namespace: elbv2::SERVICE.xml_namespace }
    }

    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        let account = account_of(caller)?;
        Ok(ask::asks(&self.commands.state(), account, &decode(request)?))
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        AwsError::new("AccessDenied", refusal.message.clone()).with_status(403)
    }

    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        _origin: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move {
            let (account, decoded) = (account_of(caller)?, decode(&request)?);
            let state = self.commands.state();
            // What a name stands for may have changed since it was asked about.
            for ask in ask::asks(&state, account, &decoded) {
                let permitted = |p: &Permit| p.action() == ask.action && p.resource() == ask.resource;
                if !permits.iter().any(permitted) {
                    let message = "No permit covers all of this request.";
                    return Err(AwsError::new("AccessDenied", message).with_status(403));
                }
            }
            let call =
                Call { commands: self.commands.as_ref(), health: self.health.as_ref(), account, state };
            let body = call.dispatch(decoded, &request.request_id).await?;
            Ok(Answer { body })
        })
    }
}

/// One request under way.
struct Call<'a> {
    commands: &'a dyn Commands,
    health: &'a dyn Health,
    account: AccountId,
    /// The state when it came.
    state: Arc<State>,
}

impl Call<'_> {
    /// Carries a change out; the state is then the one after it.
    async fn execute(&mut self, action: ElbAction) -> Outcome<Done> {
        self.execute_any(Action::Elb(action)).await
    }

    async fn execute_any(&mut self, action: Action) -> Outcome<Done> {
        let done = self.commands.execute(self.account, None, action).await;
        let done = done.map_err(|failure| error::of_command(&self.state, self.account, failure))?;
        self.state = Arc::clone(&done.state);
        Ok(done)
    }

    async fn dispatch(mut self, request: Request, id: &str) -> Outcome<String> {
        let call = &mut self;
        Ok(match request {
            Request::CreateLoadBalancer(r) => {
                answer::<op::CreateLoadBalancer>(call.create_load_balancer(*r).await?, id)
            }
            Request::DescribeLoadBalancers(r) => {
                answer::<op::DescribeLoadBalancers>(call.describe_load_balancers(*r)?, id)
            }
            Request::DeleteLoadBalancer(r) => {
                answer::<op::DeleteLoadBalancer>(call.delete_load_balancer(*r).await?, id)
            }
            Request::SetSubnets(r) => answer::<op::SetSubnets>(call.set_subnets(*r).await?, id),
            Request::SetSecurityGroups(r) => {
                answer::<op::SetSecurityGroups>(call.set_security_groups(*r).await?, id)
            }
            Request::SetIpAddressType(r) => answer::<op::SetIpAddressType>(call.set_ip_address_type(*r)?, id),
            Request::ModifyLoadBalancerAttributes(r) => answer::<op::ModifyLoadBalancerAttributes>(
                call.modify_load_balancer_attributes(*r).await?,
                id,
            ),
            Request::DescribeLoadBalancerAttributes(r) => {
                answer::<op::DescribeLoadBalancerAttributes>(call.describe_load_balancer_attributes(*r)?, id)
            }
            Request::CreateListener(r) => answer::<op::CreateListener>(call.create_listener(*r).await?, id),
            Request::DescribeListeners(r) => {
                answer::<op::DescribeListeners>(call.describe_listeners(*r)?, id)
            }
            Request::ModifyListener(r) => answer::<op::ModifyListener>(call.modify_listener(*r).await?, id),
            Request::DeleteListener(r) => answer::<op::DeleteListener>(call.delete_listener(*r).await?, id),
            Request::DescribeListenerAttributes(r) => {
                answer::<op::DescribeListenerAttributes>(call.describe_listener_attributes(*r)?, id)
            }
            Request::ModifyListenerAttributes(r) => {
                answer::<op::ModifyListenerAttributes>(call.modify_listener_attributes(*r).await?, id)
            }
            Request::CreateTargetGroup(r) => {
                answer::<op::CreateTargetGroup>(call.create_target_group(*r).await?, id)
            }
            Request::DescribeTargetGroups(r) => {
                answer::<op::DescribeTargetGroups>(call.describe_target_groups(*r)?, id)
            }
            Request::ModifyTargetGroup(r) => {
                answer::<op::ModifyTargetGroup>(call.modify_target_group(*r).await?, id)
            }
            Request::DeleteTargetGroup(r) => {
                answer::<op::DeleteTargetGroup>(call.delete_target_group(*r).await?, id)
            }
            Request::ModifyTargetGroupAttributes(r) => {
                answer::<op::ModifyTargetGroupAttributes>(call.modify_target_group_attributes(*r).await?, id)
            }
            Request::DescribeTargetGroupAttributes(r) => {
                answer::<op::DescribeTargetGroupAttributes>(call.describe_target_group_attributes(*r)?, id)
            }
            Request::RegisterTargets(r) => {
                answer::<op::RegisterTargets>(call.register_targets(*r).await?, id)
            }
            Request::DeregisterTargets(r) => {
                answer::<op::DeregisterTargets>(call.deregister_targets(*r).await?, id)
            }
            Request::DescribeTargetHealth(r) => {
                answer::<op::DescribeTargetHealth>(call.describe_target_health(*r)?, id)
            }
            Request::AddTags(r) => answer::<op::AddTags>(call.add_tags(*r).await?, id),
            Request::RemoveTags(r) => answer::<op::RemoveTags>(call.remove_tags(*r).await?, id),
            Request::DescribeTags(r) => answer::<op::DescribeTags>(call.describe_tags(*r)?, id),
            Request::DescribeAccountLimits(r) => {
                answer::<op::DescribeAccountLimits>(call.describe_account_limits(*r)?, id)
            }
        })
    }
}

fn answer<O: Operation>(response: O::Response, request_id: &str) -> String
where
    O::Response: Structure,
{
    O::respond(response, request_id)
}

/// A member that its shape requires, so that decoding has refused requests without it.
fn required<T>(member: Option<T>, name: &str) -> Outcome<T> {
    member.ok_or_else(|| error::validation(format!("{name} is required")))
}

/// Refuses parameters that were given and are not honoured, by the name of the first.
fn refuse_given(parameters: &[(&str, bool)]) -> Outcome<()> {
    match parameters.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(error::unsupported(&format!("The parameter {name}"))),
        None => Ok(()),
    }
}

/// The id of what a command made.
macro_rules! created {
    ($done:expr, $variant:ident) => {
        $done
            .events
            .iter()
            .find_map(|event| match event {
                postern_model::Event::Created(postern_model::ResourceId::$variant(id)) => Some(*id),
                _ => None,
            })
            .ok_or_else(|| $crate::elbv2::error::internal("the command made nothing"))
    };
}
use created;
