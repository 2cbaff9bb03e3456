//! The part of a spec that says which parameters there are, and the part of a status that says what was written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aws_account::Claim;

/// Parameters for the workers. A worker reads them at boot, before the user data of the template runs, into the file
/// `/etc/muster/parameters.json`, which only root can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Where they are kept.
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "self == oldSelf",
            "message": "store cannot change: make a new object with another name, and delete this one",
        },
        {
            "rule": "has(self.s3) != has(self.parameterStore)",
            "message": "a store needs exactly one of s3 or parameterStore",
        },
    ]))]
    pub store: Store,
    /// The parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub values: Vec<Parameter>,
    /// What a change of a value means for the workers that run: `Keep` writes it for workers to come; `Replace` replaces
    /// those that run.
    #[serde(default)]
    pub on_change: OnChange,
}

impl Parameters {
    /// What the AwsAccount must grant for them.
    pub fn claim(&self) -> Option<Claim> {
        match (&self.store.s3, &self.store.parameter_store) {
            (Some(s3), _) => Some(Claim::Bucket(s3.bucket.clone())),
            (None, Some(store)) => Some(Claim::ParameterPath(store.path.clone())),
            (None, None) => None,
        }
    }
}

/// Where parameters are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// One JSON document in S3, under a key that changes with the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Store>,
    /// One parameter in Systems Manager Parameter Store for each value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_store: Option<ParameterStore>,
}

/// A place in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Store {
    /// The bucket, in the region of this object. The AwsAccount must grant it to this namespace.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// What keys begin with. muster adds the uid of this object, the role and the hash of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern(r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"))]
    pub prefix: Option<String>,
}

/// A place in Parameter Store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterStore {
    /// The parameters are `<path>/<name>`, and `<path>/<role>/<name>` for a role that has parameters of its own. The
    /// AwsAccount must grant the path to this namespace.
    #[schemars(
        length(min = 2, max = 512),
        pattern(r"^(/[A-Za-z0-9_.-]+){1,12}$"),
        extend("x-kubernetes-validations" = [{
            "rule": "!self.lowerAscii().startsWith('/aws') && !self.lowerAscii().startsWith('/ssm')",
            "message": "path must not start with /aws or /ssm, which AWS keeps for itself",
        }])
    )]
    pub path: String,
    /// The KMS key for values that are `secure`: id, alias or ARN. The account's default key when not given.
    #[serde(rename = "kmsKeyID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub kms_key_id: Option<String>,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.value) != has(self.valueFrom)",
    "message": "a parameter needs exactly one of value or valueFrom",
}]))]
pub struct Parameter {
    /// Its name, which is also the key in the document that workers read.
    #[schemars(length(min = 1, max = 64), pattern(r"^[A-Za-z0-9_.-]+$"))]
    pub name: String,
    /// The value itself. Whoever may read this object can read it; take a secret from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where the value is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
    /// Whether Parameter Store encrypts it, as a `SecureString`. True when not given for a value from a Secret, and false
    /// for any other. In S3 the bucket encrypts all of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
}

/// Where a value is taken from, in the namespace of this object. With the label `muster.dev/watch=true` on the Secret or
/// ConfigMap a change is acted on at once, otherwise within a minute or so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "message": "valueFrom needs exactly one of secretKeyRef or configMapKeyRef",
}]))]
pub struct ValueFrom {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What a change of a value means for the workers that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    #[default]
    Keep,
    Replace,
}

/// The part of a status that is about parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParametersRecord {
    /// What the values that new workers of the main group read are known by. Nobody can guess a secret from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub parameters_hash: Option<String>,
    /// What muster wrote to the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ParametersStatus>,
}

/// What muster wrote to a store of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParametersStatus {
    /// Where it was written.
    pub store: Store,
    /// What the values of each group are known by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub hashes: Vec<RoleHash>,
    /// The names below the path, or the keys below the prefix and the uid, that were written or are about to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 200)), extend("x-kubernetes-list-type" = "set"))]
    pub written: Vec<String>,
    /// Whether parameters are being written or removed one by one: some may be as they were, and some as they are to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writing: bool,
}

/// What the values of a group of workers are known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleHash {
    /// The role; `main` for the main group.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The hash.
    #[schemars(length(max = 64))]
    pub hash: String,
}
