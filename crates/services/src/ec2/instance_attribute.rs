//! The attributes of an instance, one at a time, and how its metadata answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postern_model::instance::{Instance, InstanceChange, MetadataOptions};
use postern_model::interface::InterfaceChange;
use postern_model::{Action, NetworkInterfaceId, SecurityGroupId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::error;
use super::image;
use super::instance_type::InstanceType;
use super::instance_view;
use super::interface_view::groups;
use super::parameters::{self, DRY_RUN};
use super::table::{Entry, operation};
use super::view::some;

const NAMED: &[Asked] = &[Asked::Named(By::Id, "InstanceId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeInstanceAttribute = describe;
        honoured: &[DRY_RUN, &["Attribute", "InstanceId"]],
        asked: NAMED,
    },
    operation! { write ModifyInstanceAttribute = modify;
        honoured: &[DRY_RUN, &[
            "Attribute", "DisableApiTermination.Value", "GroupId", "InstanceId", "InstanceType.Value",
            "SourceDestCheck.Value", "UserData.Value", "Value",
        ]],
        only: &[
            ("DisableApiStop.Value", &["false"]),
            ("EbsOptimized.Value", &["false"]),
            ("EnaSupport.Value", &["true"]),
            ("InstanceInitiatedShutdownBehavior.Value", &["stop"]),
        ],
        asked: &[Asked::Named(By::Id, "InstanceId"), Asked::Named(By::Id, "GroupId")],
    },
    operation! { write ModifyInstanceMetadataOptions = modify_metadata;
        honoured: &[DRY_RUN, &["HttpEndpoint", "HttpPutResponseHopLimit", "InstanceId"]],
        only: &[
            ("HttpProtocolIpv6", &["disabled"]),
            ("HttpTokens", &["required"]),
            ("InstanceMetadataTags", &["disabled"]),
        ],
        asked: NAMED,
    },
];

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeInstanceAttributeRequest,
) -> Result<ec2::InstanceAttribute, AwsError> {
    let instance = call.get::<Instance>(&parameters::required(request.instance_id, "InstanceId")?)?;
    let attribute = parameters::required(request.attribute, "Attribute")?;
    let primary = instance.primary_interface(&call.state);
    let on = |value: bool| Some(ec2::AttributeBooleanValue { value: Some(value) });
    let text = |value: Option<String>| Some(ec2::AttributeValue { value });
    let mut shown = ec2::InstanceAttribute { instance_id: some(instance.id), ..Default::default() };
    match attribute.as_str() {
        "instanceType" => shown.instance_type = text(some(&instance.instance_type)),
        "userData" => {
            shown.user_data = text(instance.user_data.as_deref().map(|data| BASE64.encode(data)));
        }
        "disableApiTermination" => shown.disable_api_termination = on(instance.termination_protected),
        "disableApiStop" => shown.disable_api_stop = on(false),
        "instanceInitiatedShutdownBehavior" => {
            shown.instance_initiated_shutdown_behavior = text(some("stop"));
        }
        "rootDeviceName" => shown.root_device_name = text(some(image::ROOT_DEVICE_NAME)),
        "blockDeviceMapping" => shown.block_device_mappings = Some(Vec::new()),
        "productCodes" => shown.product_codes = Some(Vec::new()),
        "sourceDestCheck" => {
            let value = primary.map(|interface| interface.source_dest_check);
            shown.source_dest_check = Some(ec2::AttributeBooleanValue { value });
        }
        "groupSet" => {
            let of = primary.map(|interface| groups(&call.state, &interface.groups));
            shown.groups = Some(of.unwrap_or_default());
        }
        "ebsOptimized" => shown.ebs_optimized = on(false),
        "enaSupport" => shown.ena_support = on(true),
        "enclaveOptions" => shown.enclave_options = Some(ec2::EnclaveOptions { enabled: Some(false) }),
        "kernel" => shown.kernel_id = text(None),
        "ramdisk" => shown.ramdisk_id = text(None),
        "sriovNetSupport" => shown.sriov_net_support = text(None),
        other => return Err(parameters::invalid("attribute", other, "Unknown attribute.")),
    }
    Ok(shown)
}

/// One change that a request may ask for.
enum Change {
    /// Of the instance itself.
    Instance(InstanceChange),
    /// Of its primary interface.
    Interface(InterfaceChange),
}

fn instance_type(name: String) -> Result<Change, AwsError> {
    InstanceType::served(&name)?;
    Ok(Change::Instance(InstanceChange::InstanceType(name)))
}

/// An attribute that is named by `Attribute` and has its value in `Value`.
fn named(attribute: &str, value: Option<&str>) -> Result<Option<Change>, AwsError> {
    let value = parameters::required(value, "Value")?;
    let only = |expected: &str| {
        if value.eq_ignore_ascii_case(expected) {
            Ok(None)
        } else {
            Err(error::unsupported_value("Value", value, &[expected]))
        }
    };
    match attribute {
        "disableApiTermination" => {
            let on = parameters::boolean(value, "Value")?;
            Ok(Some(Change::Instance(InstanceChange::TerminationProtection(on))))
        }
        "instanceType" => instance_type(value.to_owned()).map(Some),
        "userData" => {
            let data = BASE64.decode(value).map_err(|_| {
                AwsError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
            })?;
            Ok(Some(Change::Instance(InstanceChange::UserData(data))))
        }
        "sourceDestCheck" => {
            let on = parameters::boolean(value, "Value")?;
            Ok(Some(Change::Interface(InterfaceChange::SourceDestCheck(on))))
        }
        "instanceInitiatedShutdownBehavior" => only("stop"),
        "disableApiStop" | "ebsOptimized" => only("false"),
        "enaSupport" => only("true"),
        other => Err(error::unsupported_value(
            "Attribute",
            other,
            &["disableApiTermination", "instanceType", "userData", "sourceDestCheck"],
        )),
    }
}

/// Everything that a request asks for.
fn changes(request: ec2::ModifyInstanceAttributeRequest) -> Result<Vec<Change>, AwsError> {
    let mut changes = Vec::new();
    match (request.attribute.as_deref(), request.value.as_ref()) {
        (Some(attribute), value) => changes.extend(named(attribute, value.map(|v| v.expose().as_str()))?),
        (None, Some(_)) => return Err(parameters::missing("Attribute")),
        (None, None) => {}
    }
    if let Some(on) = request.disable_api_termination.and_then(|attribute| attribute.value) {
        changes.push(Change::Instance(InstanceChange::TerminationProtection(on)));
    }
    if let Some(name) = request.instance_type.and_then(|attribute| attribute.value) {
        changes.push(instance_type(name)?);
    }
    if let Some(data) = request.user_data.and_then(|attribute| attribute.value) {
        changes.push(Change::Instance(InstanceChange::UserData(data.into_exposed().0)));
    }
    if let Some(on) = request.source_dest_check.and_then(|attribute| attribute.value) {
        changes.push(Change::Interface(InterfaceChange::SourceDestCheck(on)));
    }
    if !request.groups.is_empty() {
        let groups: Vec<SecurityGroupId> = parameters::ids(&request.groups)?;
        changes.push(Change::Interface(InterfaceChange::Groups(groups)));
    }
    Ok(changes)
}

async fn modify(call: &Call<'_>, request: ec2::ModifyInstanceAttributeRequest) -> Result<(), AwsError> {
    let id = parameters::required(request.instance_id.clone(), "InstanceId")?;
    let instance = call.get::<Instance>(&id)?;
    // "You can modify only one attribute at a time."
    let mut changes = changes(request)?.into_iter();
    let change = match (changes.next(), changes.next()) {
        (change, None) => change,
        (_, Some(_)) => {
            return Err(parameters::combination("Fields for multiple attribute types specified"));
        }
    };
    let action = match change {
        // What was given can only say what is so.
        None => return Ok(()),
        Some(Change::Instance(change)) => Action::ModifyInstance { instance: instance.id, change },
        Some(Change::Interface(change)) => {
            let interface = primary(call, &instance)?;
            Action::ModifyNetworkInterface { interface, change }
        }
    };
    call.execute(None, action).await.map(|_| ())
}

fn primary(call: &Call<'_>, instance: &Instance) -> Result<NetworkInterfaceId, AwsError> {
    let found = instance.primary_interface(&call.state).map(|interface| interface.id);
    found.ok_or_else(|| {
        call.refuse(postern_model::ModelError::WrongState {
            resource: instance.id.into(),
            state: instance.state.name(),
            needed: "running or stopped",
        })
    })
}

/// Metadata options, changed by what a request gives of them.
pub fn metadata(
    mut options: MetadataOptions,
    endpoint: Option<&str>,
    hop_limit: Option<i64>,
) -> Result<MetadataOptions, AwsError> {
    if let Some(endpoint) = endpoint {
        options.enabled = match endpoint {
            "enabled" => true,
            "disabled" => false,
            other => {
                return Err(parameters::invalid(
                    "httpEndpoint",
                    other,
                    "Expected one of: enabled, disabled.",
                ));
            }
        };
    }
    if let Some(hops) = hop_limit {
        // "Possible values: Integers from 1 to 64"
        let fits = u8::try_from(hops).ok().filter(|hops| (1..=64).contains(hops));
        options.hop_limit = fits.ok_or_else(|| {
            parameters::invalid("httpPutResponseHopLimit", hops, "Expecting a value between 1 and 64.")
        })?;
    }
    Ok(options)
}

async fn modify_metadata(
    call: &Call<'_>,
    request: ec2::ModifyInstanceMetadataOptionsRequest,
) -> Result<ec2::ModifyInstanceMetadataOptionsResult, AwsError> {
    let id = parameters::required(request.instance_id, "InstanceId")?;
    let instance = call.get::<Instance>(&id)?;
    let options =
        metadata(instance.metadata, request.http_endpoint.as_deref(), request.http_put_response_hop_limit)?;
    let action = Action::ModifyInstance { instance: instance.id, change: InstanceChange::Metadata(options) };
    call.execute(None, action).await?;
    let mut shown = instance_view::metadata(options);
    shown.state = some("pending");
    Ok(ec2::ModifyInstanceMetadataOptionsResult {
        instance_id: some(instance.id),
        instance_metadata_options: Some(shown),
    })
}
