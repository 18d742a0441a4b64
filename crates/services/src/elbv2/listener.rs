//! Listeners.

use postern_model::elb::*;
use postern_model::{State, TargetGroupId};
use postern_wire::AwsError;
use postern_wire::elbv2 as shape;

use super::page::page;
use super::{Call, Outcome, arn, created, error, refuse_given, required, tag};

fn show(state: &State, listener: &Listener) -> shape::Listener {
    let balancer = state.load_balancers.get(&listener.load_balancer);
    let group = state.target_groups.get(&listener.group).map(|group| arn::target_group(state, group));
    let forward = shape::ForwardActionConfig {
        target_group_stickiness_config: None,
        target_groups: vec![shape::TargetGroupTuple { target_group_arn: group.clone(), weight: None }],
    };
    shape::Listener {
        default_actions: Some(vec![shape::Action {
            forward_config: Some(forward),
            order: Some(1),
            target_group_arn: group,
            r#type: Some("forward".to_owned()),
        }]),
        listener_arn: Some(arn::listener(state, listener)),
        load_balancer_arn: balancer.map(|balancer| arn::load_balancer(state, balancer)),
        port: Some(listener.port.into()),
        protocol: Some(listener.protocol.name().to_owned()),
        ..Default::default()
    }
}

/// A listener's protocol. Those of application load balancers are AWS's own refusal; TLS needs a certificate of a certificate
/// manager, which this region has not, so none that a request names is there.
fn protocol(text: &str, certificates: &[shape::Certificate]) -> Outcome<ListenerProtocol> {
    match text {
        "TCP" => Ok(ListenerProtocol::Tcp),
        "UDP" => Ok(ListenerProtocol::Udp),
        "TCP_UDP" => Ok(ListenerProtocol::TcpUdp),
        "TLS" => {
            Err(match certificates.first().and_then(|certificate| certificate.certificate_arn.as_ref()) {
                None => error::validation("A certificate must be specified for TLS listeners"),
                Some(arn) => AwsError::new("CertificateNotFound", format!("Certificate '{arn}' not found")),
            })
        }
        "HTTP" | "HTTPS" | "GENEVE" => Err(AwsError::new(
            "UnsupportedProtocol",
            format!("Listener protocol '{text}' is not supported for a network load balancer"),
        )),
        other => Err(error::unsupported(&format!("The listener protocol '{other}'"))),
    }
}

/// A port of a request, 1 to 65535 by its shape.
pub(super) fn port(given: i64) -> Outcome<u16> {
    let read = u16::try_from(given).ok().filter(|port| *port > 0);
    read.ok_or_else(|| error::validation(format!("Port '{given}' must be between 1 and 65535 inclusive")))
}

/// A PROXY protocol header where it cannot be had yet: with the client's address on the packets too, or with UDP.
pub(super) fn with_header(group: &TargetGroup, text: &str) -> Outcome<()> {
    if !group.attributes.proxy_protocol_v2 {
        return Ok(());
    }
    let udp = match group.protocol {
        GroupProtocol::Udp | GroupProtocol::TcpUdp => true,
        GroupProtocol::Tcp | GroupProtocol::Tls => false,
    };
    if udp {
        return Err(error::invalid_configuration(format!(
            "Proxy protocol v2 with UDP is not supported by this endpoint yet: set the attribute \
             'proxy_protocol_v2.enabled' of the target group '{text}' to 'false'."
        )));
    }
    if group.preserves_client_address() {
        return Err(error::invalid_configuration(format!(
            "Proxy protocol v2 together with client IP preservation is not supported by this endpoint yet: set the \
             attribute 'preserve_client_ip.enabled' of the target group '{text}' to 'false'."
        )));
    }
    Ok(())
}

/// What belongs to TLS alone.
fn refuse_tls(
    ssl_policy: Option<&String>,
    alpn_policy: &[String],
    certificates: &[shape::Certificate],
) -> Outcome<()> {
    let given = [
        ("SslPolicy", ssl_policy.is_some()),
        ("AlpnPolicy", !alpn_policy.is_empty()),
        ("Certificates", !certificates.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            Err(error::invalid_configuration(format!("{name} can be specified for TLS listeners only")))
        }
    }
}

impl Call<'_> {
    /// The one target group of the one action that a network load balancer's listener has.
    fn forward(&self, actions: Vec<shape::Action>) -> Outcome<TargetGroupId> {
        let [action] = <[shape::Action; 1]>::try_from(actions)
            .map_err(|_| error::validation("A listener must have exactly one default action"))?;
        let shape::Action { forward_config, order: _, target_group_arn, r#type } = action;
        if r#type.as_deref() != Some("forward") {
            let kind = r#type.unwrap_or_default();
            return Err(error::invalid_configuration(format!(
                "The action type '{kind}' is not supported for a network load balancer"
            )));
        }
        let of_config = forward_config.map(single_group).transpose()?;
        let text = match (target_group_arn, of_config) {
            (Some(one), Some(other)) if one != other => {
                return Err(error::validation(
                    "TargetGroupArn and ForwardConfig name different target groups",
                ));
            }
            (Some(text), _) | (None, Some(text)) => text,
            (None, None) => return Err(error::validation("A target group ARN must be specified")),
        };
        let group = arn::read_target_group(&self.state, self.account, &text)?;
        with_header(&group, &text)?;
        Ok(group.id)
    }

    pub(super) async fn create_listener(
        &mut self,
        request: shape::CreateListenerInput,
    ) -> Outcome<shape::CreateListenerOutput> {
        let shape::CreateListenerInput {
            alpn_policy,
            certificates,
            default_actions,
            load_balancer_arn,
            mutual_authentication,
            port: port_given,
            protocol: protocol_given,
            ssl_policy,
            tags,
        } = request;
        let load_balancer = self.named_balancer(load_balancer_arn)?.id;
        let protocol = protocol(&required(protocol_given, "Protocol")?, &certificates)?;
        refuse_tls(ssl_policy.as_ref(), &alpn_policy, &certificates)?;
        refuse_given(&[("MutualAuthentication", mutual_authentication.is_some())])?;
        let new = NewListener {
            load_balancer,
            protocol,
            port: port(required(port_given, "Port")?)?,
            group: self.forward(default_actions)?,
            tags: tag::given(tags)?,
        };
        let done = self.execute(ElbAction::CreateListener(new)).await?;
        let id = created!(done, Listener)?;
        let listener =
            self.state.get::<Listener>(self.account, id).map_err(|_| error::listener_not_found())?;
        Ok(shape::CreateListenerOutput { listeners: Some(vec![show(&self.state, &listener)]) })
    }

    pub(super) fn describe_listeners(
        &self,
        request: shape::DescribeListenersInput,
    ) -> Outcome<shape::DescribeListenersOutput> {
        let shape::DescribeListenersInput { listener_arns, load_balancer_arn, marker, page_size } = request;
        let found: Vec<_> = match (load_balancer_arn, listener_arns.is_empty()) {
            (Some(_), false) => {
                return Err(error::validation(
                    "Listener ARNs and a load balancer ARN cannot be specified together",
                ));
            }
            (None, true) => {
                return Err(error::validation(
                    "You must specify either listener ARNs or a load balancer ARN",
                ));
            }
            (Some(text), true) => {
                let balancer = self.named_balancer(Some(text))?;
                balancer.listeners(&self.state).cloned().collect()
            }
            (None, false) => {
                let read = |text: &String| arn::read_listener(&self.state, self.account, text);
                listener_arns.iter().map(read).collect::<Outcome<_>>()?
            }
        };
        let rows = found.iter().map(|l| (arn::listener(&self.state, l), show(&self.state, l))).collect();
        let (listeners, next_marker) = page(rows, marker.as_deref(), page_size)?;
        Ok(shape::DescribeListenersOutput { listeners, next_marker })
    }

    fn named_listener(&self, text: Option<String>) -> Outcome<std::sync::Arc<Listener>> {
        arn::read_listener(&self.state, self.account, &required(text, "ListenerArn")?)
    }

    pub(super) async fn modify_listener(
        &mut self,
        request: shape::ModifyListenerInput,
    ) -> Outcome<shape::ModifyListenerOutput> {
        let shape::ModifyListenerInput {
            alpn_policy,
            certificates,
            default_actions,
            listener_arn,
            mutual_authentication,
            port: port_given,
            protocol: protocol_given,
            ssl_policy,
        } = request;
        let id = self.named_listener(listener_arn)?.id;
        let protocol = protocol_given.map(|text| protocol(&text, &certificates)).transpose()?;
        refuse_tls(ssl_policy.as_ref(), &alpn_policy, &certificates)?;
        refuse_given(&[("MutualAuthentication", mutual_authentication.is_some())])?;
        let group = if default_actions.is_empty() { None } else { Some(self.forward(default_actions)?) };
        let port = port_given.map(port).transpose()?;
        let change = ListenerChange { protocol, port, group, tcp_idle_timeout_seconds: None };
        self.execute(ElbAction::ModifyListener { listener: id, change }).await?;
        let listener =
            self.state.get::<Listener>(self.account, id).map_err(|_| error::listener_not_found())?;
        Ok(shape::ModifyListenerOutput { listeners: Some(vec![show(&self.state, &listener)]) })
    }

    pub(super) async fn delete_listener(
        &mut self,
        request: shape::DeleteListenerInput,
    ) -> Outcome<shape::DeleteListenerOutput> {
        let shape::DeleteListenerInput { listener_arn } = request;
        let listener = self.named_listener(listener_arn)?.id;
        self.execute(ElbAction::DeleteListener { listener }).await?;
        Ok(shape::DeleteListenerOutput {})
    }

    pub(super) fn describe_listener_attributes(
        &self,
        request: shape::DescribeListenerAttributesInput,
    ) -> Outcome<shape::DescribeListenerAttributesOutput> {
        let shape::DescribeListenerAttributesInput { listener_arn } = request;
        let attributes = Some(attributes(&*self.named_listener(listener_arn)?));
        Ok(shape::DescribeListenerAttributesOutput { attributes })
    }

    pub(super) async fn modify_listener_attributes(
        &mut self,
        request: shape::ModifyListenerAttributesInput,
    ) -> Outcome<shape::ModifyListenerAttributesOutput> {
        let shape::ModifyListenerAttributesInput { attributes: given, listener_arn } = request;
        let listener = self.named_listener(listener_arn)?;
        let mut change = ListenerChange::default();
        for shape::ListenerAttribute { key, value } in given {
            let (key, value) = (required(key, "Attribute key")?, value.unwrap_or_default());
            match key.as_str() {
                "tcp.idle_timeout.seconds" if listener.protocol.takes_tcp() => {
                    // "The valid range is 60-6000 seconds."
                    let seconds = super::attribute::number(&key, &value, 60, 6_000)?;
                    change.tcp_idle_timeout_seconds = Some(seconds);
                }
                _ => return Err(super::attribute::unknown(&key)),
            }
        }
        self.execute(ElbAction::ModifyListener { listener: listener.id, change }).await?;
        let found = self.state.get::<Listener>(self.account, listener.id);
        let found = found.map_err(|_| error::listener_not_found())?;
        Ok(shape::ModifyListenerAttributesOutput { attributes: Some(attributes(&found)) })
    }
}

fn attributes(listener: &Listener) -> Vec<shape::ListenerAttribute> {
    if !listener.protocol.takes_tcp() {
        return Vec::new();
    }
    vec![shape::ListenerAttribute {
        key: Some("tcp.idle_timeout.seconds".to_owned()),
        value: Some(listener.tcp_idle_timeout_seconds.to_string()),
    }]
}

/// The one group of a forward action. Weights need several.
fn single_group(config: shape::ForwardActionConfig) -> Outcome<String> {
    let shape::ForwardActionConfig { target_group_stickiness_config, target_groups } = config;
    let stickiness = target_group_stickiness_config.is_some_and(|stickiness| {
        let shape::TargetGroupStickinessConfig { duration_seconds, enabled } = stickiness;
        duration_seconds.is_some() || enabled == Some(true)
    });
    refuse_given(&[("ForwardConfig.TargetGroupStickinessConfig", stickiness)])?;
    let [group] = <[shape::TargetGroupTuple; 1]>::try_from(target_groups)
        .map_err(|_| error::unsupported("A forward action to several target groups"))?;
    // With one group, any weight but none means all.
    if group.weight == Some(0) {
        return Err(error::unsupported("A target group of weight 0"));
    }
    required(group.target_group_arn, "TargetGroupArn")
}
