//! AssumeRole

use std::time::Duration;

use super::call::{Operation, StsCall};
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;

pub(super) const OPERATION: Operation = Operation { name: "AssumeRole", run };

/// Of a role that was assumed by another one's session, whatever the role itself allows.
const LONGEST_CHAINED: u32 = 3600;

fn run(call: &StsCall<'_>) -> Result<Xml, ApiError> {
    let root = call.params.root();
    let arn = required(&root, "RoleArn")?;
    let session = required(&root, "RoleSessionName")?;
    let external_id = root.text("ExternalId");
    let seconds = root.integer("DurationSeconds")?.unwrap_or(3600);
    let tags = root.items("Tags.member");
    for tag in &tags {
        required(tag, "Key")?;
        tag.text("Value").ok_or_else(|| validation("Tag values must be given"))?;
    }
    root.list("TransitiveTagKeys.member");
    call.params.finish()?;

    let session_ok = (2..=64).contains(&session.len())
        && session.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if !session_ok {
        return Err(validation(&format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [\\w+=,.@-]*, and have a length from 2 to 64"
        )));
    }
    if !(900..=43200).contains(&seconds) {
        return Err(validation(&format!(
            "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member \
             must have value between 900 and 43200"
        )));
    }

    let (account, name) = parse_arn(arn).ok_or_else(|| validation(&format!("{arn} is invalid")))?;
    let denied = |action: &str| {
        let caller = &call.caller.id.principal_arn;
        ApiError::new(
            "AccessDenied",
            format!("User: {caller} is not authorized to perform: {action} on resource: {arn}"),
        )
    };
    // An unknown role, a caller that is not trusted and a wrong external id read the same, so that roles cannot be probed.
    let role = call.state.accounts.role(&account, name).ok_or_else(|| denied("sts:AssumeRole"))?;
    let external_id_ok = role.external_id.is_none() || role.external_id.as_deref() == external_id;
    if !role.trusts(&call.caller.id) || !external_id_ok {
        return Err(denied("sts:AssumeRole"));
    }
    if !tags.is_empty() && !role.allow_session_tags {
        return Err(denied("sts:TagSession"));
    }
    if seconds > role.max_session_seconds {
        return Err(validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    if seconds > LONGEST_CHAINED && call.caller.id.is_session() {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }

    let lasting = Duration::from_secs(u64::from(seconds));
    let credentials = call.state.accounts.start_session(&account, name, session, lasting);
    let mut xml = Xml::default();
    xml.element("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", &credentials.assumed_role_id);
        xml.text("Arn", &credentials.assumed_role_arn);
    });
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &credentials.access_key_id);
        xml.text("SecretAccessKey", &credentials.secret_access_key);
        xml.text("SessionToken", &credentials.session_token);
        xml.time("Expiration", credentials.expiration);
    });
    Ok(xml)
}

fn parse_arn(arn: &str) -> Option<(AccountId, &str)> {
    let (account, role) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    // A role's path is no part of its name.
    Some((account.parse().ok()?, role.rsplit('/').next()?))
}

fn required<'a>(scope: &Scope<'a>, field: &str) -> Result<&'a str, ApiError> {
    scope.text(field).ok_or_else(|| {
        let name = scope.name(field);
        validation(&format!(
            "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn validation(message: &str) -> ApiError {
    ApiError::new("ValidationError", message)
}
