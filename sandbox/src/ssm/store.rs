//! The parameters of all accounts and regions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::ApiError;
use super::parameter::{Kind, Parameter, Tier, Version};
use crate::caller::AccountId;
use crate::ec2::seed::{AMAZON_LINUX_ARM64, AMAZON_LINUX_X86_64};

#[derive(Debug, Default)]
pub(crate) struct Ssm {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stores: HashMap<(AccountId, String), BTreeMap<String, Parameter>>,
    /// By region: what AWS itself publishes to everybody.
    public: HashMap<String, BTreeMap<String, Parameter>>,
}

/// The parameters that one account sees in one region.
pub(super) struct Store<'a> {
    pub(super) own: &'a mut BTreeMap<String, Parameter>,
    pub(super) public: &'a mut BTreeMap<String, Parameter>,
}

impl Ssm {
    pub(super) fn with<T>(&self, account: &AccountId, region: &str, work: impl FnOnce(&mut Store<'_>) -> T) -> T {
        let mut inner = self.lock();
        let Inner { stores, public } = &mut *inner;
        let own = stores.entry((account.clone(), region.to_owned())).or_default();
        let public = public.entry(region.to_owned()).or_insert_with(|| published(region));
        work(&mut Store { own, public })
    }

    pub(super) fn publish(&self, region: &str, parameter: Parameter) {
        let mut inner = self.lock();
        let public = inner.public.entry(region.to_owned()).or_insert_with(|| published(region));
        public.insert(parameter.name.clone(), parameter);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store<'_> {
    /// What a name stands for that may carry a version (`/app/model:3`) or be an ARN: the parameter, the version, and the
    /// selector that chose it.
    pub(super) fn find<'n>(&self, name: &'n str) -> Result<(&Parameter, &Version, Option<&'n str>), ApiError> {
        let missing = || ApiError::new("ParameterNotFound", format!("Parameter {name} not found."));
        // arn:aws:ssm:eu-west-1:111111111111:parameter/app/model
        let (arn, path) = match name.strip_prefix("arn:") {
            Some(rest) => (true, rest.split_once(":parameter").ok_or_else(missing)?.1),
            None => (false, name),
        };
        let (path, selector) = match path.split_once(':') {
            Some((path, selector)) => (path, Some(selector)),
            None => (path, None),
        };
        let parameter = self.named(path).or_else(|| self.named(path.strip_prefix('/')?).filter(|_| arn));
        let parameter = parameter.ok_or_else(missing)?;
        let version = match selector {
            None => parameter.latest(),
            Some(selector) => parameter.versions.iter().find(|version| version.number.to_string() == selector),
        };
        let version = version.ok_or_else(|| {
            let message = format!(
                "Systems Manager could not find version {} of {path}. Verify the version and try again.",
                selector.unwrap_or_default()
            );
            ApiError::new("ParameterVersionNotFound", message)
        })?;
        Ok((parameter, version, selector))
    }

    fn named(&self, name: &str) -> Option<&Parameter> {
        self.own.get(name).or_else(|| self.public.get(name))
    }
}

/// Parameters that AWS publishes in every region and that name the images of this sandbox.
fn published(region: &str) -> BTreeMap<String, Parameter> {
    [("x86_64", AMAZON_LINUX_X86_64), ("arm64", AMAZON_LINUX_ARM64)]
        .into_iter()
        .map(|(architecture, image)| {
            let name = format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}");
            (name.clone(), public(region, &name, image, Timestamp::UNIX_EPOCH))
        })
        .collect()
}

pub(super) fn public(region: &str, name: &str, value: &str, now: Timestamp) -> Parameter {
    let first = Version {
        number: 1,
        value: value.to_owned(),
        kind: Kind::String,
        key_id: None,
        tier: Tier::Standard,
        data_type: "text".to_owned(),
        description: None,
        modified: now,
        modified_by: String::new(),
        ciphertext: String::new(),
    };
    Parameter::new(None, region, name, first)
}
