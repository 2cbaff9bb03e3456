//! Parameter Store: reads parameters in batches, and writes them one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use aws_sdk_ssm::{
    Client,
    operation::put_parameter::builders::PutParameterFluentBuilder,
    types::{Parameter, ParameterStringFilter, ParameterType, ResourceTypeForTagging, Tag},
};

use crate::{
    aws::{Bucket, Error, ParameterWriter, Permit, Session},
    clock::Clock,
    ids::ParameterName,
};

/// The maximum number of names in GetParameters and DeleteParameters.
pub const NAMES_PER_CALL: usize = 10;
/// The largest page of DescribeParameters.
const DESCRIBED_PER_CALL: i32 = 50;
/// How long a call waits for the rate limit of Parameter Store, which is low.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shorter values occur in messages of AWS by chance.
const TELLING_LENGTH: usize = 4;

/// A value that may be secret: it is not printed; only [`ParameterValue::expose`] returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct ParameterValue(String);

impl ParameterValue {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, which must not be logged or shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ParameterValue(..)")
    }
}

/// How a value is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A `String`.
    Plain,
    /// A `SecureString`, encrypted with this KMS key. `None`: the default key of the account for Systems Manager.
    Encrypted { kms_key_id: Option<String> },
}

/// A parameter to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedParameter {
    pub name: ParameterName,
    pub value: ParameterValue,
    pub protection: Protection,
}

/// A stored parameter. The value of a `SecureString` is decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredParameter {
    pub value: ParameterValue,
    /// Whether it is a `SecureString`. The response does not contain the key.
    pub encrypted: bool,
    /// Starts at 1 and increases with each write.
    pub version: i64,
}

/// Parameter Store in one account and region. Errors name the IAM action of the call.
#[derive(Clone, Debug)]
pub struct Ssm {
    client: Client,
    /// Makes one attempt per call.
    once: Client,
    session: Session,
}

impl Ssm {
    pub fn new(session: &Session) -> Self {
        let client = |config: &aws_config::SdkConfig| {
            let config = aws_sdk_ssm::config::Builder::from(config).interceptor(session.call_counter()).build();
            Client::from_conf(config)
        };
        Self { client: client(session.sdk()), once: client(&session.sdk_single_attempt()), session: session.clone() }
    }

    /// A single parameter, for example the id of an AMI. A name that does not exist is an error of class
    /// [`Class::NotFound`](crate::aws::Class::NotFound).
    pub async fn get_parameter(&self, name: &ParameterName, decrypted: bool) -> Result<ParameterValue, Error> {
        const OPERATION: &str = "ssm:GetParameter";
        let _permit = self.turn(OPERATION, Bucket::ParameterReads).await?;
        let answer = self.client.get_parameter().name(name.as_str()).with_decryption(decrypted).send().await;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        value.map(ParameterValue).ok_or_else(|| Error::garbled(OPERATION, "a parameter without a value"))
    }

    /// Those of `names` that exist, decrypted.
    pub async fn get_parameters(
        &self,
        names: &[ParameterName],
    ) -> Result<BTreeMap<ParameterName, StoredParameter>, Error> {
        let mut found = BTreeMap::new();
        for row in self.rows(names, true).await? {
            let encrypted = row.r#type == Some(ParameterType::SecureString);
            let name = name(GET, row.name())?;
            let value = row.value.ok_or_else(|| Error::garbled(GET, "a parameter without a value"))?;
            found.insert(name, StoredParameter { value: ParameterValue(value), encrypted, version: row.version });
        }
        Ok(found)
    }

    /// Which of `names` exist. Nothing is decrypted, so this works without access to the key.
    pub async fn existing(&self, names: &[ParameterName]) -> Result<BTreeSet<ParameterName>, Error> {
        self.rows(names, false).await?.iter().map(|row| name(GET, row.name())).collect()
    }

    async fn rows(&self, names: &[ParameterName], decrypted: bool) -> Result<Vec<Parameter>, Error> {
        let mut rows = Vec::new();
        for names in names.chunks(NAMES_PER_CALL) {
            let _permit = self.turn(GET, Bucket::ParameterReads).await?;
            let texts = names.iter().map(ToString::to_string).collect();
            let answer = self.client.get_parameters().set_names(Some(texts)).with_decryption(decrypted).send().await;
            rows.extend(answer.map_err(|e| Error::from_sdk(GET, &e))?.parameters.unwrap_or_default());
        }
        Ok(rows)
    }

    /// The names of all parameters that have all of the tags.
    pub async fn names_by_tags(&self, tags: &BTreeMap<String, String>) -> Result<BTreeSet<ParameterName>, Error> {
        const OPERATION: &str = "ssm:DescribeParameters";
        let filter = |(key, value): (&String, &String)| {
            let filter = ParameterStringFilter::builder().key(format!("tag:{key}")).values(value).build();
            filter.map_err(|e| Error::garbled(OPERATION, e))
        };
        let filters = tags.iter().map(filter).collect::<Result<Vec<_>, _>>()?;
        let (mut found, mut next) = (BTreeSet::new(), None);
        loop {
            let _permit = self.turn(OPERATION, Bucket::ParameterWrites).await?;
            let call = self.client.describe_parameters().set_parameter_filters(Some(filters.clone()));
            let answer = call.max_results(DESCRIBED_PER_CALL).set_next_token(next).send().await;
            let page = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
            for row in page.parameters() {
                found.insert(name(OPERATION, row.name())?);
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Creates a parameter with its tags, in one attempt, and returns its version. If the name exists, nothing is
    /// changed and the error has the class [`Class::Conflict`](crate::aws::Class::Conflict).
    pub async fn create(&self, wanted: &WantedParameter, tags: &BTreeMap<String, String>) -> Result<i64, Error> {
        let tags = tags.iter().map(tag).collect::<Result<_, _>>()?;
        self.put(wanted, |call| call.overwrite(false).set_tags(Some(tags))).await
    }

    /// Writes a new version of a parameter, in one attempt, and returns its number. The tags do not change: Parameter
    /// Store accepts none with an overwrite.
    pub async fn overwrite(&self, wanted: &WantedParameter) -> Result<i64, Error> {
        self.put(wanted, |call| call.overwrite(true)).await
    }

    async fn put(
        &self,
        wanted: &WantedParameter,
        how: impl FnOnce(PutParameterFluentBuilder) -> PutParameterFluentBuilder,
    ) -> Result<i64, Error> {
        let _permit = self.turn(PUT, Bucket::ParameterWrites).await?;
        let WantedParameter { name, value, protection } = wanted;
        // No tier: the default of the account decides whether a value over 4 KB is refused or paid for.
        let call = self.once.put_parameter().name(name.as_str()).value(value.expose());
        let call = match protection {
            Protection::Plain => call.r#type(ParameterType::String),
            Protection::Encrypted { kms_key_id } => {
                call.r#type(ParameterType::SecureString).set_key_id(kms_key_id.clone())
            }
        };
        let answer = how(call).send().await;
        answer.map(|answer| answer.version).map_err(|e| without(Error::from_sdk(PUT, &e), value))
    }

    /// Sets tags of a parameter, in one attempt. Other tags do not change.
    pub async fn add_tags(&self, name: &ParameterName, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        const OPERATION: &str = "ssm:AddTagsToResource";
        let _permit = self.turn(OPERATION, Bucket::ParameterWrites).await?;
        let tags = tags.iter().map(tag).collect::<Result<_, _>>()?;
        let call = self.once.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter);
        let answer = call.resource_id(name.as_str()).set_tags(Some(tags)).send().await;
        answer.map(drop).map_err(|e| Error::from_sdk(OPERATION, &e))
    }

    /// The tags of a parameter. A name that does not exist is an error of class
    /// [`Class::NotFound`](crate::aws::Class::NotFound).
    pub async fn list_tags(&self, name: &ParameterName) -> Result<BTreeMap<String, String>, Error> {
        const OPERATION: &str = "ssm:ListTagsForResource";
        let _permit = self.turn(OPERATION, Bucket::ParameterWrites).await?;
        let call = self.client.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter);
        let answer = call.resource_id(name.as_str()).send().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        Ok(answer.tag_list.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Deletes at most [`NAMES_PER_CALL`] parameters, in one attempt. A parameter that does not exist is no error.
    pub async fn delete(&self, names: &[ParameterName]) -> Result<(), Error> {
        const OPERATION: &str = "ssm:DeleteParameters";
        let _permit = self.turn(OPERATION, Bucket::ParameterWrites).await?;
        let texts = names.iter().map(ToString::to_string).collect();
        let answer = self.once.delete_parameters().set_names(Some(texts)).send().await;
        answer.map(drop).map_err(|e| Error::from_sdk(OPERATION, &e))
    }

    /// Must be held while writing, so that few objects wait for the rate limit at the same time. An error of class
    /// [`Class::Throttled`](crate::aws::Class::Throttled) while enough other objects write.
    pub fn writer(&self) -> Result<ParameterWriter, Error> {
        let Session { account, region, limits, .. } = &self.session;
        limits.parameter_writer(account, region).ok_or_else(|| Error::not_sent(PUT))
    }

    /// Waits for the rate limit of the account.
    async fn turn(&self, operation: &'static str, bucket: Bucket) -> Result<Permit, Error> {
        let Session { account, region, limits, .. } = &self.session;
        let deadline = Clock.monotonic() + PATIENCE;
        limits.wait(account, region, bucket, 1, deadline).await.map_err(|_| Error::not_sent(operation))
    }
}

const GET: &str = "ssm:GetParameters";
const PUT: &str = "ssm:PutParameter";

/// Removes the value from a message of AWS, which may quote it.
fn without(mut error: Error, value: &ParameterValue) -> Error {
    let value = value.expose();
    let (text, instead) = if value.len() < TELLING_LENGTH {
        (format!("'{value}'"), "'(the value)'")
    } else {
        (value.to_owned(), "(the value)")
    };
    error.message = error.message.replace(&text, instead);
    error
}

fn tag((key, value): (&String, &String)) -> Result<Tag, Error> {
    Tag::builder().key(key).value(value).build().map_err(|e| Error::garbled(PUT, e))
}

fn name(operation: &'static str, text: Option<&str>) -> Result<ParameterName, Error> {
    ParameterName::try_from(text.unwrap_or_default()).map_err(|e| Error::garbled(operation, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Class;

    #[test]
    fn a_value_is_not_printed() {
        let wanted = WantedParameter {
            name: ParameterName::try_from("/app/password").unwrap(),
            value: ParameterValue::new("hunter2"),
            protection: Protection::Encrypted { kms_key_id: None },
        };
        assert!(!format!("{wanted:?}").contains("hunter2"));
        assert!(!format!("{wanted:#?}").contains("hunter2"));
    }

    #[test]
    fn an_error_that_quotes_the_value_is_shown_without_the_value() {
        for (value, message, expected) in [
            ("hunter2", "Value 'hunter2' at 'value' failed", "Value '(the value)' at 'value' failed"),
            ("a", "Value 'a' at 'value' failed", "Value '(the value)' at 'value' failed"),
            ("", "Value '' at 'value' failed", "Value '(the value)' at 'value' failed"),
            ("hunter2", "KMS key not found", "KMS key not found"),
        ] {
            let error = Error {
                operation: PUT,
                class: Class::InvalidInput,
                code: "ValidationException".into(),
                message: message.into(),
            };
            assert_eq!(without(error, &ParameterValue::new(value)).message, expected);
        }
    }
}
