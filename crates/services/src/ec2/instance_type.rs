//! Instance types. The numbers are those that AWS publishes; here they are names and give an instance no more and no
//! less of the host, so none of them is said to have CPU credits.

use postern_wire::{AwsError, ec2};

use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, shown, text};
use super::image::{self, ARCHITECTURE};
use super::pagination::Bounds;
use super::parameters::{DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::some;

const BOUNDS: Bounds = Bounds { least: 5, most: 100 };

pub(super) const OPERATIONS: &[Entry] =
    &[operation! { read DescribeInstanceTypes = describe; filters: filters::names::<ec2::InstanceTypeInfo>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["InstanceType"]],
        only: &[("IncludeUnsupportedInRegion", &["true", "false"])],
    }];

/// One type: what AWS publishes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Such as `t3.micro`.
    pub name: &'static str,
    arm: bool,
    cores: i64,
    threads_per_core: i64,
    memory_mib: i64,
    interfaces: i64,
    addresses_per_interface: i64,
}

const fn x86(
    name: &'static str,
    (cores, threads_per_core): (i64, i64),
    memory_mib: i64,
    (interfaces, addresses_per_interface): (i64, i64),
) -> InstanceType {
    InstanceType {
        name,
        arm: false,
        cores,
        threads_per_core,
        memory_mib,
        interfaces,
        addresses_per_interface,
    }
}

const fn arm(
    name: &'static str,
    cores: i64,
    memory_mib: i64,
    (interfaces, addresses_per_interface): (i64, i64),
) -> InstanceType {
    InstanceType {
        name,
        arm: true,
        cores,
        threads_per_core: 1,
        memory_mib,
        interfaces,
        addresses_per_interface,
    }
}

/// The types that can be asked for.
const TYPES: &[InstanceType] = &[
    x86("m1.small", (1, 1), 1740, (2, 4)),
    x86("t2.nano", (1, 1), 512, (2, 2)),
    x86("t2.micro", (1, 1), 1024, (2, 2)),
    x86("t2.small", (1, 1), 2048, (3, 4)),
    x86("t2.medium", (2, 1), 4096, (3, 6)),
    x86("t2.large", (2, 1), 8192, (3, 12)),
    x86("t3.nano", (1, 2), 512, (2, 2)),
    x86("t3.micro", (1, 2), 1024, (2, 2)),
    x86("t3.small", (1, 2), 2048, (3, 4)),
    x86("t3.medium", (1, 2), 4096, (3, 6)),
    x86("t3.large", (1, 2), 8192, (3, 12)),
    x86("t3.xlarge", (2, 2), 16384, (4, 15)),
    x86("t3a.nano", (1, 2), 512, (2, 2)),
    x86("t3a.micro", (1, 2), 1024, (2, 2)),
    x86("t3a.small", (1, 2), 2048, (2, 4)),
    x86("t3a.medium", (1, 2), 4096, (3, 6)),
    x86("m5.large", (1, 2), 8192, (3, 10)),
    x86("m5.xlarge", (2, 2), 16384, (4, 15)),
    x86("m6i.large", (1, 2), 8192, (3, 10)),
    x86("c5.large", (1, 2), 4096, (3, 10)),
    x86("c6i.large", (1, 2), 4096, (3, 10)),
    x86("r5.large", (1, 2), 16384, (3, 10)),
    arm("t4g.nano", 2, 512, (2, 2)),
    arm("t4g.micro", 2, 1024, (2, 2)),
    arm("t4g.small", 2, 2048, (3, 4)),
    arm("t4g.medium", 2, 4096, (3, 6)),
    arm("t4g.large", 2, 8192, (3, 12)),
    arm("m6g.large", 2, 8192, (3, 10)),
    arm("m7g.large", 2, 8192, (3, 10)),
    arm("c7g.large", 2, 4096, (3, 10)),
];

impl InstanceType {
    /// What AWS starts where no type is named.
    pub const DEFAULT: &'static str = "m1.small";

    /// The type of this name, whatever its architecture.
    pub fn find(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|known| known.name == name)
    }

    /// The type of this name, if the image runs on it.
    pub fn served(name: &str) -> Result<&'static Self, AwsError> {
        let Some(found) = Self::find(name) else {
            return Err(AwsError::new(
                "Unsupported",
                format!(
                    "The requested instance type ({name}) is not supported by this endpoint. \
                     DescribeInstanceTypes lists those that are."
                ),
            ));
        };
        let architecture = found.architecture();
        if architecture != ARCHITECTURE {
            return Err(AwsError::new(
                "InvalidParameterValue",
                format!(
                    "The architecture '{architecture}' of the specified instance type does not match the \
                     architecture '{ARCHITECTURE}' of the specified AMI. Specify an instance type and an AMI that \
                     have matching architectures, and try again. You can use 'describe-instance-types' or \
                     'describe-images' to discover the architecture of the instance type or AMI."
                ),
            ));
        }
        Ok(found)
    }

    fn architecture(self) -> &'static str {
        if self.arm { "arm64" } else { "x86_64" }
    }

    /// The CPU options of an instance of this type.
    pub fn cpu_options(&self) -> ec2::CpuOptions {
        ec2::CpuOptions {
            core_count: Some(self.cores),
            threads_per_core: Some(self.threads_per_core),
            ..Default::default()
        }
    }
}

fn network(found: &InstanceType) -> ec2::NetworkInfo {
    let card = ec2::NetworkCardInfo {
        maximum_network_interfaces: Some(found.interfaces),
        network_card_index: Some(0),
        ..Default::default()
    };
    ec2::NetworkInfo {
        default_network_card_index: Some(0),
        efa_supported: Some(false),
        ena_support: some("supported"),
        encryption_in_transit_supported: Some(false),
        ipv4_addresses_per_interface: Some(found.addresses_per_interface),
        ipv6_addresses_per_interface: Some(0),
        ipv6_supported: Some(false),
        maximum_network_cards: Some(1),
        maximum_network_interfaces: Some(found.interfaces),
        network_cards: Some(vec![card]),
        ..Default::default()
    }
}

fn show(found: &InstanceType) -> ec2::InstanceTypeInfo {
    ec2::InstanceTypeInfo {
        auto_recovery_supported: Some(false),
        bare_metal: Some(false),
        burstable_performance_supported: Some(false),
        current_generation: Some(!(found.name.starts_with("t2.") || found.name.starts_with("m1."))),
        dedicated_hosts_supported: Some(false),
        free_tier_eligible: Some(matches!(found.name, "t2.micro" | "t3.micro")),
        hibernation_supported: Some(false),
        hypervisor: some("nitro"),
        instance_storage_supported: Some(false),
        instance_type: some(found.name),
        memory_info: Some(ec2::MemoryInfo { size_in_mi_b: Some(found.memory_mib) }),
        network_info: Some(network(found)),
        processor_info: Some(ec2::ProcessorInfo {
            supported_architectures: Some(vec![found.architecture().to_owned()]),
            ..Default::default()
        }),
        supported_boot_modes: Some(vec!["uefi".to_owned()]),
        supported_root_device_types: Some(vec![image::ROOT_DEVICE_TYPE.to_owned()]),
        supported_usage_classes: Some(vec!["on-demand".to_owned()]),
        supported_virtualization_types: Some(vec![image::VIRTUALIZATION_TYPE.to_owned()]),
        v_cpu_info: Some(ec2::VCpuInfo {
            default_cores: Some(found.cores),
            default_threads_per_core: Some(found.threads_per_core),
            default_v_cpus: Some(found.cores * found.threads_per_core),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Row for ec2::InstanceTypeInfo {
    const FILTERS: FilterTable<Self> = &[
        ("auto-recovery-supported", |t| shown(t.auto_recovery_supported)),
        ("bare-metal", |t| shown(t.bare_metal)),
        ("burstable-performance-supported", |t| shown(t.burstable_performance_supported)),
        ("current-generation", |t| shown(t.current_generation)),
        ("dedicated-hosts-supported", |t| shown(t.dedicated_hosts_supported)),
        ("free-tier-eligible", |t| shown(t.free_tier_eligible)),
        ("hibernation-supported", |t| shown(t.hibernation_supported)),
        ("hypervisor", |t| text(t.hypervisor.as_ref())),
        ("instance-storage-supported", |t| shown(t.instance_storage_supported)),
        ("instance-type", |t| text(t.instance_type.as_ref())),
        ("memory-info.size-in-mib", |t| shown(t.memory_info.as_ref().and_then(|m| m.size_in_mi_b))),
        ("network-info.efa-supported", |t| shown(t.network_info.as_ref().and_then(|n| n.efa_supported))),
        ("network-info.ena-support", |t| text(t.network_info.as_ref().and_then(|n| n.ena_support.as_ref()))),
        ("network-info.ipv4-addresses-per-interface", |t| {
            shown(t.network_info.as_ref().and_then(|n| n.ipv4_addresses_per_interface))
        }),
        ("network-info.ipv6-addresses-per-interface", |t| {
            shown(t.network_info.as_ref().and_then(|n| n.ipv6_addresses_per_interface))
        }),
        ("network-info.ipv6-supported", |t| shown(t.network_info.as_ref().and_then(|n| n.ipv6_supported))),
        ("network-info.maximum-network-cards", |t| {
            shown(t.network_info.as_ref().and_then(|n| n.maximum_network_cards))
        }),
        ("network-info.maximum-network-interfaces", |t| {
            shown(t.network_info.as_ref().and_then(|n| n.maximum_network_interfaces))
        }),
        ("processor-info.supported-architecture", |t| {
            let processor = t.processor_info.as_ref();
            each(processor.and_then(|p| p.supported_architectures.as_ref()), |a| Some(a.clone()))
        }),
        ("supported-boot-mode", |t| each(t.supported_boot_modes.as_ref(), |m| Some(m.clone()))),
        ("supported-root-device-type", |t| each(t.supported_root_device_types.as_ref(), |m| Some(m.clone()))),
        ("supported-usage-class", |t| each(t.supported_usage_classes.as_ref(), |m| Some(m.clone()))),
        ("supported-virtualization-type", |t| {
            each(t.supported_virtualization_types.as_ref(), |m| Some(m.clone()))
        }),
        ("vcpu-info.default-cores", |t| shown(t.v_cpu_info.as_ref().and_then(|v| v.default_cores))),
        ("vcpu-info.default-threads-per-core", |t| {
            shown(t.v_cpu_info.as_ref().and_then(|v| v.default_threads_per_core))
        }),
        ("vcpu-info.default-vcpus", |t| shown(t.v_cpu_info.as_ref().and_then(|v| v.default_v_cpus))),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.instance_type.clone().unwrap_or_default()
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeInstanceTypesRequest,
) -> Result<ec2::DescribeInstanceTypesResult, AwsError> {
    let served = || TYPES.iter().filter(|known| known.architecture() == ARCHITECTURE);
    let unknown: Vec<&str> = request
        .instance_types
        .iter()
        .map(String::as_str)
        .filter(|name| !served().any(|known| known.name == *name))
        .collect();
    if !unknown.is_empty() {
        return Err(AwsError::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
        ));
    }
    let wanted = |known: &&InstanceType| {
        request.instance_types.is_empty() || request.instance_types.iter().any(|name| name == known.name)
    };
    let rows = served().filter(wanted).map(show).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (instance_types, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeInstanceTypesResult { instance_types, next_token })
}
