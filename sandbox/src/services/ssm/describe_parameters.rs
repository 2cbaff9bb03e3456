//! DescribeParameters

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{OTHERS, Operation, SsmCall};
use super::{name, page};
use crate::error::ApiError;
use crate::state::ssm::{Parameter, Version};

pub(super) const OPERATION: Operation = Operation { name: "DescribeParameters", bucket: OTHERS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    #[serde(default)]
    max_results: Option<u32>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    #[serde(default)]
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// A filter that was checked.
struct Test<'a> {
    of: Of<'a>,
    how: How,
    values: &'a [String],
}

enum Of<'a> {
    Name,
    Path,
    Type,
    KeyId,
    Tier,
    Tag(&'a str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Equals,
    BeginsWith,
    Contains,
    OneLevel,
    Recursive,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    let tests = input.parameter_filters.iter().map(check).collect::<Result<Vec<_>, _>>()?;
    for (index, filter) in input.parameter_filters.iter().enumerate() {
        if input.parameter_filters.iter().take(index).any(|other| other.key == filter.key) {
            let key = &filter.key;
            return Err(ApiError::new(
                "InvalidFilterKey",
                format!(
                    "The following filter is duplicated in the request: {key}. A request can contain only one \
                     occurrence of a specific filter."
                ),
            ));
        }
    }
    call.with(|store| {
        let rows = store.own.values().filter_map(|parameter| {
            let version = parameter.latest()?;
            let passed = tests.iter().all(|test| test.passes(parameter, version));
            passed.then(|| (parameter.name.clone(), parameter.described(version)))
        });
        let (found, next) = page::cut(rows, input.max_results, (10, 50), input.next_token.as_deref())?;
        let mut answer = json!({"Parameters": found});
        if let Some(next) = next {
            answer["NextToken"] = json!(next);
        }
        Ok(answer)
    })
}

fn check(filter: &Filter) -> Result<Test<'_>, ApiError> {
    let Filter { key, option, values } = filter;
    let of = match key.as_str() {
        "Name" => Of::Name,
        "Path" => Of::Path,
        "Type" => Of::Type,
        "KeyId" => Of::KeyId,
        "Tier" => Of::Tier,
        key => match key.strip_prefix("tag:").filter(|key| !key.is_empty()) {
            Some(tag) => Of::Tag(tag),
            None => {
                let message = format!(
                    "The following filter key is not valid: {key}. Valid filter keys include: [Path, Name, Type, KeyId, \
                     Tier]."
                );
                return Err(ApiError::new("InvalidFilterKey", message));
            }
        },
    };
    let (default, allowed): (How, &[How]) = match of {
        Of::Path => (How::OneLevel, &[How::OneLevel, How::Recursive]),
        Of::Name => (How::Equals, &[How::Equals, How::BeginsWith, How::Contains]),
        Of::Type | Of::KeyId | Of::Tier | Of::Tag(_) => (How::Equals, &[How::Equals, How::BeginsWith]),
    };
    let how = match option.as_deref() {
        None => Some(default),
        Some("Equals") => Some(How::Equals),
        Some("BeginsWith") => Some(How::BeginsWith),
        Some("Contains") => Some(How::Contains),
        Some("OneLevel") => Some(How::OneLevel),
        Some("Recursive") => Some(How::Recursive),
        Some(_) => None,
    };
    let how = how.filter(|how| allowed.contains(how)).ok_or_else(|| {
        let option = option.as_deref().unwrap_or_default();
        ApiError::new("InvalidFilterOption", format!("The following filter option is not valid: {option}."))
    })?;
    match of {
        // A tag without values is looked for by its key alone.
        Of::Tag(_) => {}
        Of::Name | Of::Path | Of::Type | Of::KeyId | Of::Tier if values.is_empty() => {
            let message = format!("The following filter values are missing : null for filter key {key}.");
            return Err(ApiError::new("InvalidFilterValue", message));
        }
        Of::Path => values.iter().try_for_each(|path| name::below(path).map(drop))?,
        Of::Name | Of::Type | Of::KeyId | Of::Tier => {}
    }
    Ok(Test { of, how, values })
}

impl Test<'_> {
    fn passes(&self, parameter: &Parameter, version: &Version) -> bool {
        match self.of {
            Of::Name | Of::Path => self.fits(&parameter.name),
            Of::Type => self.fits(version.kind.name()),
            Of::KeyId => version.key_id.as_deref().is_some_and(|key| self.fits(key)),
            Of::Tier => self.fits(version.tier.name()),
            Of::Tag(key) => parameter.tags.get(key).is_some_and(|value| self.values.is_empty() || self.fits(value)),
        }
    }

    fn fits(&self, text: &str) -> bool {
        self.values.iter().any(|value| match self.how {
            How::Equals => text == value,
            How::BeginsWith => text.starts_with(value.as_str()),
            How::Contains => text.contains(value.as_str()),
            How::OneLevel | How::Recursive => {
                let rest = text.strip_prefix(value.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(|rest| self.how == How::Recursive || !rest.contains('/'))
            }
        })
    }
}
