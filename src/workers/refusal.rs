//! What AWS refuses, as a person reads it: which word stands in the column, and which field to change.

use crate::{
    aws::{Class, Error},
    condition::Reason,
};

pub fn reason(error: &Error) -> Reason {
    match error.class {
        Class::Denied => Reason::AwsDenied,
        Class::InvalidInput => Reason::AwsInvalid,
        Class::NotFound => Reason::AwsNotFound,
        Class::Throttled => Reason::AwsThrottled,
        Class::NoCapacity => Reason::NoCapacity,
        Class::Conflict | Class::Transient => Reason::AwsUnavailable,
    }
}

/// Whether somebody has to change something before it can go on.
pub fn stalls(error: &Error) -> bool {
    match error.class {
        Class::Denied | Class::InvalidInput | Class::NotFound => true,
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
    }
}

/// What to do about a refused launch, to be put behind the error.
pub fn advice(error: &Error) -> String {
    advice_for(error, field(error))
}

/// The same, where the field that the call was for is known.
pub fn advice_for(error: &Error, field: &str) -> String {
    match error.class {
        Class::Denied => denied(error),
        Class::InvalidInput | Class::NotFound => format!("; change {field}"),
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => String::new(),
    }
}

fn denied(error: &Error) -> String {
    match (error.code.as_str(), error.denied_action()) {
        ("OptInRequired", _) => {
            "; accept the terms of the image in AWS Marketplace, or change spec.template.ami".into()
        }
        (_, Some((action, Some(resource)))) => {
            format!("; allow {action} on {resource} to the role that muster uses here")
        }
        (_, Some((action, None))) => format!("; allow {action} to the role that muster uses here"),
        (_, None) => {
            let pass_role = if error.operation == "ec2:RunInstances" {
                ", and iam:PassRole for the role of the instance profile"
            } else {
                ""
            };
            format!("; allow {} to the role that muster uses here{pass_role}", error.operation)
        }
    }
}

/// The field of a spec that a refused RunInstances is about. Sources: EC2's list of error codes, and the messages of its
/// InvalidParameterValue.
fn field(error: &Error) -> &'static str {
    let code = error.code.as_str();
    // The part before the dot is the resource, as in InvalidAMIID.NotFound and InvalidAMIID.Unavailable.
    let code = code.strip_prefix("Client.").unwrap_or(code);
    match code.split('.').next().unwrap_or(code) {
        "InvalidAMIID" | "InvalidImageID" => {
            "spec.template.ami to an image that this account can launch in this region"
        }
        "InvalidKeyPair" => "spec.template.keyName to a key pair of this region",
        "InvalidGroup" | "InvalidGroupId" | "InvalidSecurityGroupID" | "SecurityGroupLimitExceeded" => {
            "spec.template.securityGroups to groups of the subnets' VPC"
        }
        "InvalidSubnetID" | "InvalidSubnet" | "VPCIdNotSpecified" | "MissingInput" => {
            "spec.template.subnets to subnets of this account and region"
        }
        "InvalidLaunchTemplateId" | "InvalidLaunchTemplateName" | "InvalidLaunchTemplateVersion" => {
            "spec.template.launchTemplate to one of this account and region"
        }
        "InvalidBlockDeviceMapping"
        | "InvalidSnapshot"
        | "InvalidSnapshotID"
        | "InvalidVolume"
        | "InvalidVolumeType"
        | "InvalidKmsKey"
        | "VolumeLimitExceeded"
        | "VolumeTypeNotAvailableInZone" => "spec.template.blockDeviceMappings",
        // Of a machine that was ended at once: mostly a KMS key that may not be used.
        "InternalError" => {
            "spec.template.blockDeviceMappings or ami to disks whose KMS keys this account may use, or allow their use"
        }
        "InvalidUserData" => "spec.template.userData",
        "InvalidInstanceType" => "spec.template.instanceTypes",
        "InvalidTagKey" | "TagLimitExceeded" | "TagPolicyViolation" => "spec.template.tags",
        "InvalidIamInstanceProfile" | "InvalidIamInstanceProfileArn" => "spec.template.instanceProfile",
        "InvalidParameterValue" | "InvalidParameter" | "InvalidParameterCombination" | "MissingParameter" => {
            error.parameter().map_or(ANY, parameter)
        }
        _ => ANY,
    }
}

const ANY: &str = "spec.template accordingly";

/// The field that is behind a parameter of RunInstances.
fn parameter(name: &str) -> &'static str {
    let first = name.split(['.', '[']).next().unwrap_or(name);
    match first.to_ascii_lowercase().as_str() {
        "iaminstanceprofile" => "spec.template.instanceProfile to the name of an instance profile of this account",
        "instancetype" => "spec.template.instanceTypes",
        "imageid" => "spec.template.ami",
        "keyname" => "spec.template.keyName",
        "groupid" | "securitygroup" | "securitygroupid" | "securitygroups" => "spec.template.securityGroups",
        "subnetid" | "subnet" => "spec.template.subnets",
        "networkinterface" | "networkinterfaces" | "associatepublicipaddress" => {
            "spec.template.subnets, securityGroups or associatePublicIPAddress"
        }
        "blockdevicemapping"
        | "blockdevicemappings"
        | "volumesize"
        | "volumetype"
        | "iops"
        | "throughput"
        | "kmskeyid"
        | "encrypted" => "spec.template.blockDeviceMappings",
        "metadataoptions" | "httptokens" | "httpputresponsehoplimit" => "spec.template.metadataOptions",
        "userdata" => "spec.template.userData",
        "tagspecification" | "tagspecifications" | "tag" | "tagkey" => "spec.template.tags",
        "launchtemplate" => "spec.template.launchTemplate",
        "instancemarketoptions" | "markettype" => "spec.template.capacityType",
        _ => ANY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: Class, code: &str, message: &str) -> Error {
        Error { operation: "ec2:RunInstances", class, code: code.into(), message: message.into() }
    }

    #[test]
    fn a_refusal_names_the_field_to_change() {
        for (code, message, field) in [
            ("InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", "template.ami"),
            ("InvalidAMIID.Unavailable", "The image id '[ami-1]' is not available", "template.ami"),
            ("InvalidKeyPair.NotFound", "The key pair 'ops' does not exist", "template.keyName"),
            ("InvalidGroup.NotFound", "The security group 'sg-1' does not exist", "template.securityGroups"),
            ("InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist", "template.subnets"),
            ("InvalidLaunchTemplateId.VersionNotFound", "Could not find the version", "template.launchTemplate"),
            ("InvalidBlockDeviceMapping", "Volume of size 4GB is smaller than snapshot", "blockDeviceMappings"),
            (
                "InvalidParameterValue",
                "Value (worker) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
                "template.instanceProfile",
            ),
            ("InvalidParameterValue", "Invalid value 'm9.huge' for InstanceType.", "template.instanceTypes"),
            ("Client.InternalError", "EC2 ended i-1 right after its launch", "KMS keys"),
            ("Client.VolumeLimitExceeded", "EC2 ended i-1 right after its launch", "blockDeviceMappings"),
            ("SomethingNew", "no", "change spec.template accordingly"),
        ] {
            let class = if code.ends_with("NotFound") { Class::NotFound } else { Class::InvalidInput };
            let advice = advice(&error(class, code, message));
            assert!(advice.starts_with("; change spec.template") && advice.contains(field), "{code}: {advice}");
        }
    }

    #[test]
    fn a_denial_names_the_action_to_allow() {
        let told = "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/muster/s is not \
                    authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/worker because no \
                    identity-based policy allows the iam:PassRole action";
        let advice = |message: &str| advice(&error(Class::Denied, "UnauthorizedOperation", message));
        assert_eq!(
            advice(told),
            "; allow iam:PassRole on arn:aws:iam::1:role/worker to the role that muster uses here"
        );
        let bare = advice("You are not authorized to perform this operation.");
        assert!(bare.contains("ec2:RunInstances") && bare.contains("iam:PassRole"), "{bare}");
    }
}
