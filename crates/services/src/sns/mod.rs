//! Simple Notification Service: topics, their subscribers, and what is published to them.
//!
//! What AWS has and this has not (queues, functions, mail and mobile telephones as subscribers; first-in-first-out
//! topics; filters; encryption) is refused by its name.
//!
//! INVARIANT: nothing goes to an endpoint but the question whether it wants to hear, until it said so with a token that
//! only it was told.
//! INVARIANT: every parameter of a served operation is honoured or refused by its name.

mod ask;
mod attribute;
pub mod envelope;
mod error;
mod policy;
mod publish;
pub mod retry;
mod subscription;
mod topic;

use std::sync::Arc;

use postern_frontdoor::service::Serving;
use postern_frontdoor::{Answer, Ask, Caller, Origin, Permit, QueryRequest, QueryService, Refusal};
use postern_model::sns::{SnsAction, Topic};
use postern_model::{AccountId, Action, State, Timestamp};
use postern_wire::error::ErrorStyle;
use postern_wire::query::{Form, Limits};
use postern_wire::shape::Protocol;
use postern_wire::sns::{self, Request, op};
use postern_wire::{AwsError, Operation, Structure};

pub use policy::{default_policy, policy_of, service_may_publish};
pub use publish::{Attribute, Message};

use crate::commands::Commands;

/// Takes messages to subscribers. The program implements it.
pub trait Deliveries: Send + Sync {
    /// Whether messages can go to an endpoint at all, which is a URL of `http` or `https`.
    ///
    /// # Errors
    /// Why they cannot, for the subscriber.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), String>;

    /// Takes a message to everybody who confirmed a subscription to the topic. Does not wait for it.
    fn publish(&self, topic: &Arc<Topic>, message: Message);

    /// Asks an endpoint whether it wants the subscription. Does not wait for its answer.
    fn ask_for_confirmation(&self, topic: &Arc<Topic>, subscription: &str);
}

/// The service.
pub struct SnsService {
    commands: Arc<dyn Commands>,
    deliveries: Arc<dyn Deliveries>,
}

impl SnsService {
    /// Over the region's commands.
    pub fn new(commands: Arc<dyn Commands>, deliveries: Arc<dyn Deliveries>) -> Self {
        Self { commands, deliveries }
    }
}

type Outcome<T> = Result<T, AwsError>;

fn decode(request: &QueryRequest) -> Outcome<Request> {
    let form = Form::parse("", &request.body, Limits::DEFAULT);
    let decoded = form.map_err(Into::into).and_then(|form| Request::decode(&form));
    decoded.map_err(|error| error.to_aws(Protocol::Query))
}

/// What can be asked for by a URL that was sent to an endpoint, which has no credentials.
fn is_for_endpoints(operation: &str) -> bool {
    matches!(operation, "ConfirmSubscription" | "Unsubscribe")
}

impl QueryService for SnsService {
    fn signing_name(&self) -> &'static str {
        sns::SERVICE.name
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Query { xml_namespace: sns::SERVICE.xml_namespace }
    }

    fn serves_unsigned(&self, operation: &str) -> bool {
        is_for_endpoints(operation)
    }

    fn needs_no_permission(&self, operation: &str) -> bool {
        is_for_endpoints(operation)
    }

    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        let decoded = decode(request)?;
        match caller.account {
            Some(account) => ask::asks(&self.commands.state(), account, &decoded),
            // What the URLs are for needs their tokens and nothing else.
            None if is_for_endpoints(decoded.name()) => Ok(Vec::new()),
            None => Err(error::authorization("Access Denied")),
        }
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        error::authorization(&refusal.message)
    }

    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        _origin: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move {
            let decoded = decode(&request)?;
            let state = self.commands.state();
            // What a name stands for may have changed since it was asked about.
            if let Some(account) = caller.account {
                for ask in ask::asks(&state, account, &decoded)? {
                    let permitted = |p: &Permit| p.action() == ask.action && p.resource() == ask.resource;
                    if !permits.iter().any(permitted) {
                        return Err(error::authorization("No permit covers all of this request."));
                    }
                }
            }
            let call = Call {
                commands: self.commands.as_ref(),
                deliveries: self.deliveries.as_ref(),
                account: caller.account,
                state,
            };
            let body = call.dispatch(decoded, &request.request_id).await?;
            Ok(Answer { body })
        })
    }
}

/// One request under way.
struct Call<'a> {
    commands: &'a dyn Commands,
    deliveries: &'a dyn Deliveries,
    /// Who asks; none for who came by a URL that was sent to an endpoint.
    account: Option<AccountId>,
    /// The state when it came.
    state: Arc<State>,
}

impl Call<'_> {
    /// Who asks, for what only somebody with credentials can ask for.
    fn account(&self) -> Outcome<AccountId> {
        self.account.ok_or_else(|| error::authorization("Access Denied"))
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.commands.now_milliseconds())
    }

    /// Changes topics of an account; the state is then the one after it.
    async fn execute(&mut self, owner: AccountId, action: SnsAction) -> Outcome<()> {
        let done = self.commands.execute(owner, None, Action::Sns(action)).await;
        self.state = done.map_err(error::of_command)?.state;
        Ok(())
    }

    /// The topic of an ARN, whoever's it is: that the caller may know of it was asked.
    fn topic(&self, arn: Option<&str>) -> Outcome<Arc<Topic>> {
        let arn = arn.unwrap_or_default();
        ask::read_topic_arn(&self.state, arn).ok_or_else(|| error::invalid("TopicArn"))?;
        self.state.topics.get(arn).cloned().ok_or_else(error::topic_not_found)
    }

    async fn dispatch(mut self, request: Request, id: &str) -> Outcome<String> {
        let call = &mut self;
        Ok(match request {
            Request::CreateTopic(r) => answer::<op::CreateTopic>(call.create_topic(*r).await?, id),
            Request::DeleteTopic(r) => answer::<op::DeleteTopic>(call.delete_topic(*r).await?, id),
            Request::ListTopics(r) => answer::<op::ListTopics>(call.list_topics(*r)?, id),
            Request::GetTopicAttributes(r) => {
                answer::<op::GetTopicAttributes>(call.get_topic_attributes(*r)?, id)
            }
            Request::SetTopicAttributes(r) => {
                answer::<op::SetTopicAttributes>(call.set_topic_attributes(*r).await?, id)
            }
            Request::Subscribe(r) => answer::<op::Subscribe>(call.subscribe(*r).await?, id),
            Request::ConfirmSubscription(r) => {
                answer::<op::ConfirmSubscription>(call.confirm_subscription(*r).await?, id)
            }
            Request::Unsubscribe(r) => answer::<op::Unsubscribe>(call.unsubscribe(*r).await?, id),
            Request::ListSubscriptions(r) => {
                answer::<op::ListSubscriptions>(call.list_subscriptions(*r)?, id)
            }
            Request::ListSubscriptionsByTopic(r) => {
                answer::<op::ListSubscriptionsByTopic>(call.list_subscriptions_by_topic(*r)?, id)
            }
            Request::GetSubscriptionAttributes(r) => {
                answer::<op::GetSubscriptionAttributes>(call.get_subscription_attributes(*r)?, id)
            }
            Request::SetSubscriptionAttributes(r) => {
                answer::<op::SetSubscriptionAttributes>(call.set_subscription_attributes(*r).await?, id)
            }
            Request::Publish(r) => answer::<op::Publish>(call.publish(*r)?, id),
            Request::TagResource(r) => answer::<op::TagResource>(call.tag_resource(*r).await?, id),
            Request::UntagResource(r) => answer::<op::UntagResource>(call.untag_resource(*r).await?, id),
            Request::ListTagsForResource(r) => {
                answer::<op::ListTagsForResource>(call.list_tags_for_resource(*r)?, id)
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
