//! PutParameter

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Operation, PUTS, SsmCall};
use super::name;
use super::tags::{self, Tag};
use super::validation::{constraint, validation};
use crate::error::ApiError;
use crate::state::ssm::{Kind, Parameter, Tier, Version};

pub(super) const OPERATION: Operation = Operation { name: "PutParameter", bucket: PUTS, run };

/// Of standard parameters in an account and region.
const MAX_PARAMETERS: usize = 10_000;
const DEFAULT_KEY: &str = "alias/aws/ssm";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    name: String,
    value: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    r#type: Option<Kind>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tier: Option<WantedTier>,
    #[serde(default)]
    data_type: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum WantedTier {
    Standard,
    Advanced,
    #[serde(rename = "Intelligent-Tiering")]
    IntelligentTiering,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    if input.value.is_empty() {
        return Err(constraint("", "value", "Member must have length greater than or equal to 1"));
    }
    if input.overwrite && !input.tags.is_empty() {
        return Err(validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove \
             overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    name::check(&input.name)?;
    let tags = tags::read(input.tags)?;
    let data_type = input.data_type.unwrap_or_else(|| "text".to_owned());
    if !matches!(data_type.as_str(), "text" | "aws:ec2:image") {
        let message =
            format!("The following data type is not supported: {data_type} (Data type names are all lowercase.)");
        return Err(validation(message));
    }
    if data_type == "aws:ec2:image" {
        check_image(call, &input.value)?;
    }
    call.with(|store| {
        let count = store.own.len();
        let before = store.own.get_mut(&input.name);
        if before.is_some() && !input.overwrite {
            let message =
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
            return Err(ApiError::new("ParameterAlreadyExists", message));
        }
        let latest = before.as_ref().and_then(|parameter| parameter.latest().cloned());
        let kind = input.r#type.or(latest.as_ref().map(|version| version.kind));
        let kind = kind.ok_or_else(|| validation("A parameter type is required when you create a parameter."))?;
        let tier = tier(input.tier, latest.as_ref().map(|version| version.tier), &input.value)?;
        let version = Version {
            number: latest.as_ref().map_or(1, |version| version.number + 1),
            kind,
            key_id: key(kind, input.key_id, latest.as_ref())?,
            tier,
            data_type,
            description: input.description.or_else(|| latest.and_then(|version| version.description)),
            modified: call.now,
            modified_by: call.caller.id.policy_arn(),
            ciphertext: ciphertext(),
            value: input.value,
        };
        let answer = json!({"Version": version.number, "Tier": tier.name()});
        match before {
            Some(parameter) => parameter.add(version),
            None if count >= MAX_PARAMETERS => {
                let message = "You have exceeded the number of parameters for this AWS account. Delete one or more \
                               parameters and try again.";
                return Err(ApiError::new("ParameterLimitExceeded", message));
            }
            None => {
                let region = &call.caller.region;
                let mut made = Parameter::new(Some(&call.caller.id.account), region, &input.name, version);
                tags::add(&mut made.tags, tags)?;
                store.own.insert(input.name, made);
            }
        }
        Ok(answer)
    })
}

fn tier(wanted: Option<WantedTier>, before: Option<Tier>, value: &str) -> Result<Tier, ApiError> {
    let tier = match (wanted, before) {
        (Some(WantedTier::Standard), Some(Tier::Advanced)) => {
            return Err(validation(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
                 advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced \
                 parameter and recreate it as a standard parameter.",
            ));
        }
        (Some(WantedTier::Advanced), _) | (_, Some(Tier::Advanced)) => Tier::Advanced,
        (Some(WantedTier::IntelligentTiering), _) if value.len() > Tier::Standard.max_bytes() => Tier::Advanced,
        (Some(WantedTier::Standard | WantedTier::IntelligentTiering) | None, Some(Tier::Standard) | None) => {
            Tier::Standard
        }
    };
    if value.len() > tier.max_bytes() {
        let (name, most) = (tier.name(), tier.max_bytes());
        let advice = match tier {
            Tier::Standard => {
                " To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more \
                 information, see \
                 https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
            }
            Tier::Advanced => "",
        };
        let message = format!("{name} tier parameters support a maximum parameter value of {most} characters.{advice}");
        return Err(validation(message));
    }
    Ok(tier)
}

fn key(kind: Kind, wanted: Option<String>, before: Option<&Version>) -> Result<Option<String>, ApiError> {
    match (kind, wanted) {
        (Kind::String | Kind::StringList, Some(_)) => {
            Err(validation("KeyId is required for SecureString type parameter only."))
        }
        (Kind::String | Kind::StringList, None) => Ok(None),
        (Kind::SecureString, Some(key)) => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte);
            if key.is_empty() || key.len() > 256 || !key.bytes().all(fits) {
                let pattern = "Member must satisfy regular expression pattern: ^([a-zA-Z0-9:/_-]+)$";
                return Err(constraint(&key, "keyId", pattern));
            }
            Ok(Some(key))
        }
        (Kind::SecureString, None) => {
            let before = before.and_then(|version| version.key_id.clone());
            Ok(Some(before.unwrap_or_else(|| DEFAULT_KEY.to_owned())))
        }
    }
}

/// AWS takes the write and checks afterwards, so that a bad id makes no version. Here it is refused at once.
fn check_image(call: &SsmCall<'_>, id: &str) -> Result<(), ApiError> {
    let known = call.state.ec2.with(call.now, |world| world.images(&call.caller.region, call.now).contains_key(id));
    if known { Ok(()) } else { Err(validation(format!("The image {id} does not exist or cannot be used."))) }
}

/// Looks like what KMS makes, and says nothing of the value.
fn ciphertext() -> String {
    let noise: Vec<u8> = (0..8).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    format!("AQICAH{}", BASE64_STANDARD.encode(noise))
}
