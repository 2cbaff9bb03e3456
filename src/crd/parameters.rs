//! Parameters in a spec, and the record in the status of what was written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters for the workers. Before the user data of the template runs, each worker writes them to the file
/// `/etc/muster/parameters.json`, which only root can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Where the parameters are stored.
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "self == oldSelf",
            "message": "store cannot change: create a new object with another name, and delete this one",
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
    /// What happens to running workers when a value changes: `Keep` keeps them, and only new workers get the new value;
    /// `Replace` replaces them by a rolling update.
    #[serde(default)]
    pub on_change: OnChange,
}

/// Where parameters are stored: exactly one of `s3` and `parameterStore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// One JSON object in S3 for each role, under a key that changes with the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Store>,
    /// One parameter in AWS Systems Manager Parameter Store for each value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_store: Option<ParameterStore>,
}

/// A place in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Store {
    /// The bucket, in the region of `spec.aws`. The AwsAccount must grant it to this namespace.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// The prefix of the keys. muster adds the uid of this object, the role and the hash of the values. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern(r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"))]
    pub prefix: Option<String>,
}

/// A place in Parameter Store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterStore {
    /// The path of the parameters, which are named `<path>/<name>`, or `<path>/<role>/<name>` for a role that has
    /// parameters of its own. The AwsAccount must grant the path to this namespace.
    #[schemars(
        length(min = 2, max = 512),
        pattern(r"^(/[A-Za-z0-9_.-]+){1,12}$"),
        extend("x-kubernetes-validations" = [{
            "rule": "!self.lowerAscii().startsWith('/aws') && !self.lowerAscii().startsWith('/ssm')",
            "message": "path must not start with /aws or /ssm, which AWS reserves",
        }])
    )]
    pub path: String,
    /// The KMS key for `secure` values: id, alias or ARN. The AwsAccount must grant it, written in the same way.
    /// Default: the default key of the AWS account.
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
    /// The name of the parameter, which is also its key in the file that workers read.
    #[schemars(length(min = 1, max = 64), pattern(r"^[A-Za-z0-9_.-]+$"))]
    pub name: String,
    /// The value. Everybody who can read this object can read it: use `valueFrom` for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// The source of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
    /// Whether Parameter Store encrypts the value as a `SecureString`. Default: true for a value from a Secret, false
    /// for any other. It has no effect in S3, where the bucket encrypts the whole object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
}

/// The source of a value, in the namespace of this object. If the Secret or ConfigMap has the label
/// `muster.dev/watch=true`, a change takes effect at once, otherwise within about a minute.
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
    /// The name of the Secret or ConfigMap.
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The key in the data of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253), pattern(r"^[A-Za-z0-9_.-]+$"))]
    pub key: String,
}

/// What happens to running workers when something that they were launched with changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    #[default]
    Keep,
    Replace,
}

/// The parameters in a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParametersRecord {
    /// The hash of the parameter values of new workers of the role `main`. It is keyed by the key of the release and the
    /// uid of this object, so that nobody can find a value by trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub parameters_hash: Option<String>,
    /// The record of what muster wrote to the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ParametersStatus>,
}

/// The record of what muster wrote to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParametersStatus {
    /// The store that the parameters were written to.
    pub store: Store,
    /// The hashes of the parameter values of each role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub hashes: Vec<RoleHash>,
    /// The names below the path, or the keys below the prefix and the uid, that were written or are being written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 200)), extend("x-kubernetes-list-type" = "set"))]
    pub written: Vec<String>,
    /// True while parameters are written or removed one by one: some may still have their old value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writing: bool,
}

/// The hash of the parameter values of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleHash {
    /// The name of the role.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The hash, keyed by the key of the release and the uid of this object.
    #[schemars(length(max = 64))]
    pub hash: String,
}
