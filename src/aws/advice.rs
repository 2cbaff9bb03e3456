//! What an error of AWS means for the user: the reason of the condition, whether a user must act, and what to do. For
//! all kinds.

use crate::{
    aws::{Class, Error},
    condition::Reason,
};

/// The reason of the condition.
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

/// Whether the call can succeed only after a change by a user.
pub fn stalls(error: &Error) -> bool {
    match error.class {
        Class::Denied | Class::InvalidInput | Class::NotFound => true,
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
    }
}

/// Whether the request itself must be changed.
pub fn asks_for_a_change(error: &Error) -> bool {
    stalls(error) && error.class != Class::Denied
}

/// What to do about a bucket that does not belong to the expected account. AWS names neither action nor policy then.
const OTHER_OWNER: &str = "if the bucket belongs to another account, and that account is trusted, add its id to the \
                               grant of the bucket, as its accountID";

/// To be appended to the advice about a denied call of S3.
pub fn other_owner(error: &Error) -> String {
    if error.denied_action().is_some() { String::new() } else { format!("; {OTHER_OWNER}") }
}

/// How to fix a refused call, as far as the caller knows.
#[derive(Clone, Debug, Default)]
pub struct Remedy {
    /// Used instead of the denied action, if something else grants it.
    pub denied: Option<String>,
    pub not_found: Option<String>,
    pub invalid: Option<String>,
}

impl Remedy {
    /// For a call that uses `field` of a spec.
    pub fn change(field: &str) -> Self {
        let change = Some(format!("change {field}"));
        Self { denied: None, not_found: change.clone(), invalid: change }
    }

    /// For a launch, whose error names the field.
    pub fn of_launch(error: &Error) -> Self {
        Self::change(field(error))
    }
}

/// What to do about `error`, to be appended to its message. Empty for a temporary error.
pub fn advice(error: &Error, remedy: &Remedy) -> String {
    let what = match error.class {
        Class::Denied => Some(remedy.denied.clone().unwrap_or_else(|| denied(error))),
        Class::NotFound => remedy.not_found.clone(),
        Class::InvalidInput => remedy.invalid.clone(),
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => None,
    };
    what.map(|what| format!("; {what}")).unwrap_or_default()
}

fn denied(error: &Error) -> String {
    const TO_ROLE: &str = "to the role that muster uses here";
    match (error.code.as_str(), error.denied_action()) {
        ("OptInRequired", _) => "accept the terms of the image in AWS Marketplace, or change spec.template.ami".into(),
        (_, Some((action, Some(resource)))) => format!("allow {action} on {resource} {TO_ROLE}"),
        (_, Some((action, None))) => format!("allow {action} {TO_ROLE}"),
        (_, None) if error.operation == "ec2:RunInstances" => {
            format!("allow {} {TO_ROLE}, and iam:PassRole for the role of the instance profile", error.operation)
        }
        (_, None) if error.operation.starts_with("s3:") => {
            format!("allow {} {TO_ROLE}{}", error.operation, other_owner(error))
        }
        (_, None) => format!("allow {} {TO_ROLE}", error.operation),
    }
}

/// The field of a spec that caused an error of RunInstances. Sources: the error codes of EC2, and its messages for
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
        // Of an instance that was terminated at once, mostly because a KMS key may not be used.
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

/// The field that sets a parameter of RunInstances.
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
    fn a_rejected_launch_names_the_field_to_change() {
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
            ("Client.InternalError", "EC2 terminated i-1 right after its launch", "KMS keys"),
            ("Client.VolumeLimitExceeded", "EC2 terminated i-1 right after its launch", "blockDeviceMappings"),
            ("SomethingNew", "no", "change spec.template accordingly"),
        ] {
            let class = if code.ends_with("NotFound") { Class::NotFound } else { Class::InvalidInput };
            let error = error(class, code, message);
            let advice = advice(&error, &Remedy::of_launch(&error));
            assert!(advice.starts_with("; change spec.template") && advice.contains(field), "{code}: {advice}");
        }
    }

    #[test]
    fn a_denied_call_names_the_action_to_allow() {
        let denial = "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/muster/s is not \
                    authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/worker because no \
                    identity-based policy allows the iam:PassRole action";
        let advice =
            |message: &str| advice(&error(Class::Denied, "UnauthorizedOperation", message), &Remedy::default());
        assert_eq!(
            advice(denial),
            "; allow iam:PassRole on arn:aws:iam::1:role/worker to the role that muster uses here"
        );
        let bare = advice("You are not authorized to perform this operation.");
        assert!(bare.contains("ec2:RunInstances") && bare.contains("iam:PassRole"), "{bare}");
    }
}
