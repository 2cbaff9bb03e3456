//! Which launch parameters a version keeps, how they are read and shown.

pub(super) struct Field {
    /// The name in requests. Answers have it with a small first letter, but for lists.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Text,
    Boolean,
    Integer,
    Structure(&'static [Field]),
    Texts { set: &'static str, item: &'static str },
    Structures { set: &'static str, fields: &'static [Field] },
}

const fn text(name: &'static str) -> Field {
    Field { name, kind: Kind::Text }
}

const fn boolean(name: &'static str) -> Field {
    Field { name, kind: Kind::Boolean }
}

const fn integer(name: &'static str) -> Field {
    Field { name, kind: Kind::Integer }
}

const fn structure(name: &'static str, fields: &'static [Field]) -> Field {
    Field { name, kind: Kind::Structure(fields) }
}

const fn texts(name: &'static str, set: &'static str, item: &'static str) -> Field {
    Field { name, kind: Kind::Texts { set, item } }
}

const fn structures(name: &'static str, set: &'static str, fields: &'static [Field]) -> Field {
    Field { name, kind: Kind::Structures { set, fields } }
}

pub(super) const FIELDS: &[Field] = &[
    boolean("EbsOptimized"),
    structure("IamInstanceProfile", &[text("Arn"), text("Name")]),
    structures(
        "BlockDeviceMapping",
        "blockDeviceMappingSet",
        &[
            text("DeviceName"),
            text("VirtualName"),
            structure(
                "Ebs",
                &[
                    boolean("Encrypted"),
                    boolean("DeleteOnTermination"),
                    integer("Iops"),
                    text("KmsKeyId"),
                    text("SnapshotId"),
                    integer("VolumeSize"),
                    text("VolumeType"),
                    integer("Throughput"),
                ],
            ),
            text("NoDevice"),
        ],
    ),
    structures(
        "NetworkInterface",
        "networkInterfaceSet",
        &[
            boolean("AssociatePublicIpAddress"),
            boolean("DeleteOnTermination"),
            text("Description"),
            integer("DeviceIndex"),
            texts("SecurityGroupId", "groupSet", "groupId"),
            text("InterfaceType"),
            text("SubnetId"),
            integer("NetworkCardIndex"),
        ],
    ),
    text("ImageId"),
    text("InstanceType"),
    text("KeyName"),
    structure("Monitoring", &[boolean("Enabled")]),
    structure("Placement", &[text("AvailabilityZone"), text("Tenancy")]),
    boolean("DisableApiTermination"),
    text("InstanceInitiatedShutdownBehavior"),
    text("UserData"),
    structures(
        "TagSpecification",
        "tagSpecificationSet",
        &[text("ResourceType"), structures("Tag", "tagSet", &[text("Key"), text("Value")])],
    ),
    texts("SecurityGroupId", "securityGroupIdSet", "item"),
    texts("SecurityGroup", "securityGroupSet", "item"),
    structure(
        "InstanceMarketOptions",
        &[
            text("MarketType"),
            structure(
                "SpotOptions",
                &[text("MaxPrice"), text("SpotInstanceType"), text("InstanceInterruptionBehavior")],
            ),
        ],
    ),
    structure(
        "MetadataOptions",
        &[
            text("HttpTokens"),
            integer("HttpPutResponseHopLimit"),
            text("HttpEndpoint"),
            text("HttpProtocolIpv6"),
            text("InstanceMetadataTags"),
        ],
    ),
];
