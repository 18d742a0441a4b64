//! Images. There is one: an instance runs on the host's own files, read-only, so all images would be the same.

use postern_wire::{AwsError, ec2};

use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, none, shown, text};
use super::pagination::Bounds;
use super::parameters::{DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::some;

/// The id of the one image.
pub const IMAGE_ID: &str = "ami-0123456789abcdef0";
/// The host's processor, in AWS's words.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
/// What it runs.
pub const PLATFORM_DETAILS: &str = "Linux/UNIX";
/// Where AWS's images have their root.
pub const ROOT_DEVICE_NAME: &str = "/dev/xvda";
/// An instance can be stopped and started again, which AWS has with this type only.
pub const ROOT_DEVICE_TYPE: &str = "ebs";
/// What all of AWS's current types have.
pub const VIRTUALIZATION_TYPE: &str = "hvm";

const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

pub(super) const OPERATIONS: &[Entry] =
    &[operation! { read DescribeImages = describe; filters: filters::names::<ec2::Image>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ExecutableBy", "ImageId", "Owner"]],
        // The one image is neither deprecated nor disabled.
        only: &[("IncludeDeprecated", &["true", "false"]), ("IncludeDisabled", &["true", "false"])],
    }];

/// Refuses an id that is not the image's.
pub fn check(id: &str) -> Result<(), AwsError> {
    if id == IMAGE_ID {
        return Ok(());
    }
    let digits = id.strip_prefix("ami-").unwrap_or_default();
    let lower_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower_hex && matches!(digits.len(), 8 | 17) {
        Err(AwsError::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")))
    } else {
        let message = format!("Invalid id: \"{id}\" (expecting \"ami-...\")");
        Err(AwsError::new("InvalidAMIID.Malformed", message))
    }
}

fn show() -> ec2::Image {
    ec2::Image {
        architecture: some(ARCHITECTURE),
        block_device_mappings: Some(Vec::new()),
        boot_mode: some("uefi-preferred"),
        creation_date: some("2026-01-01T00:00:00.000Z"),
        description: some("The files of the host, read-only"),
        ena_support: Some(true),
        hypervisor: some("xen"),
        image_id: some(IMAGE_ID),
        image_location: some("amazon/postern-host"),
        image_owner_alias: some("amazon"),
        image_type: some("machine"),
        imds_support: some("v2.0"),
        name: some("postern-host"),
        owner_id: some("137112412989"),
        platform_details: some(PLATFORM_DETAILS),
        public: Some(true),
        root_device_name: some(ROOT_DEVICE_NAME),
        root_device_type: some(ROOT_DEVICE_TYPE),
        state: some("available"),
        usage_operation: some("RunInstances"),
        virtualization_type: some(VIRTUALIZATION_TYPE),
        ..Default::default()
    }
}

impl Row for ec2::Image {
    const FILTERS: FilterTable<Self> = &[
        ("architecture", |i| text(i.architecture.as_ref())),
        ("block-device-mapping.delete-on-termination", none),
        ("block-device-mapping.device-name", none),
        ("block-device-mapping.encrypted", none),
        ("block-device-mapping.snapshot-id", none),
        ("block-device-mapping.volume-size", none),
        ("block-device-mapping.volume-type", none),
        ("creation-date", |i| text(i.creation_date.as_ref())),
        ("description", |i| text(i.description.as_ref())),
        ("ena-support", |i| shown(i.ena_support)),
        ("hypervisor", |i| text(i.hypervisor.as_ref())),
        ("image-id", |i| text(i.image_id.as_ref())),
        ("image-type", |i| text(i.image_type.as_ref())),
        ("is-public", |i| shown(i.public)),
        ("kernel-id", none),
        ("manifest-location", |i| text(i.image_location.as_ref())),
        ("name", |i| text(i.name.as_ref())),
        ("owner-alias", |i| text(i.image_owner_alias.as_ref())),
        ("owner-id", |i| text(i.owner_id.as_ref())),
        ("platform", none),
        ("product-code", none),
        ("product-code.type", none),
        ("ramdisk-id", none),
        ("root-device-name", |i| text(i.root_device_name.as_ref())),
        ("root-device-type", |i| text(i.root_device_type.as_ref())),
        ("state", |i| text(i.state.as_ref())),
        ("state-reason-code", none),
        ("state-reason-message", none),
        ("sriov-net-support", none),
        ("virtualization-type", |i| text(i.virtualization_type.as_ref())),
    ];

    fn key(&self) -> String {
        self.image_id.clone().unwrap_or_default()
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeImagesRequest,
) -> Result<ec2::DescribeImagesResult, AwsError> {
    for id in &request.image_ids {
        check(id)?;
    }
    let image = show();
    let owned_by = |owner: &String| {
        Some(owner) == image.image_owner_alias.as_ref() || Some(owner) == image.owner_id.as_ref()
    };
    let owned = request.owners.is_empty() || request.owners.iter().any(owned_by);
    // Everybody may launch it, and nobody has been given it by name.
    let executable =
        request.executable_users.is_empty() || request.executable_users.iter().any(|u| u == "all");
    let rows = if owned && executable { vec![image] } else { Vec::new() };
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (images, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeImagesResult { images, next_token })
}
