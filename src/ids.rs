//! Identifiers as separate types, validated when they are parsed.

use std::{collections::BTreeSet, fmt};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The text is not a valid identifier of the type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{value:?} is not {expected}")]
pub struct InvalidId {
    value: String,
    expected: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $expected:literal, $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) { Ok(Self(value)) } else { Err(InvalidId { value, expected: $expected }) }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

/// EC2 ids are a prefix and 8 (old) or 17 lower-case hex digits.
fn ec2_id(prefix: &str, value: &str) -> bool {
    value.strip_prefix(prefix).is_some_and(|rest| {
        matches!(rest.len(), 8 | 17) && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

ids! {
    InstanceId: "an instance id (i-0123456789abcdef0)", |v| ec2_id("i-", v);
    ImageId: "an AMI id (ami-0123456789abcdef0)", |v| ec2_id("ami-", v);
    SubnetId: "a subnet id (subnet-0123456789abcdef0)", |v| ec2_id("subnet-", v);
    SecurityGroupId: "a security group id (sg-0123456789abcdef0)", |v| ec2_id("sg-", v);
    LaunchTemplateId: "a launch template id (lt-0123456789abcdef0)", |v| ec2_id("lt-", v);
    VpcId: "a VPC id (vpc-0123456789abcdef0)", |v| ec2_id("vpc-", v);
    AccountId: "an AWS account id (12 digits)", |v| v.len() == 12 && v.bytes().all(|b| b.is_ascii_digit());
    Region: "an AWS region (eu-west-1)", |v| {
        v.len() <= 32
            && v.split('-').count() >= 3
            && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && v.ends_with(|c: char| c.is_ascii_digit())
    };
    InstanceType: "an instance type (m6i.large)", |v| {
        let valid = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        v.len() <= 64 && v.split_once('.').is_some_and(|(family, size)| valid(family) && valid(size))
    };
    Zone: "an availability zone (eu-west-1a)",
        |v| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic());
    /// The name of a parameter in Parameter Store: a path like `/app/model`, also with `:version` or as an ARN.
    ParameterName: "the name of a parameter (letters, digits, and _ . - / : only)",
        |v| (1..=2048).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/:".contains(&b));
    /// A role of workers, like `leader`; a DNS label.
    Role: "a role (lower-case letters, digits and '-', at most 63)", |v| {
        (1..=63).contains(&v.len())
            && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !v.starts_with('-')
            && !v.ends_with('-')
    };
    /// The name of an object in Kubernetes: a DNS subdomain (RFC 1123). It is safe as a part of a path.
    ObjectName: "the name of an object in Kubernetes (lower-case letters, digits, '-' and '.', at most 253)", |v| {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        v.len() <= 253 && v.split('.').all(is_label)
    };
    /// The uid of a Kubernetes object: a UUID as the API server writes it.
    Uid: "the uid of a Kubernetes object", |v| uuid::Uuid::try_parse(v).is_ok_and(|u| u.hyphenated().to_string() == v);
    /// The ClientToken of a launch: at most 64 ASCII characters (EC2, "Ensuring idempotency").
    ClientToken: "an EC2 client token (1 to 64 ASCII characters)",
        |v| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic());
}

/// The uids of a comma-separated list.
///
/// # Errors
/// When an item is not a uid.
pub fn uids(text: &str) -> Result<BTreeSet<Uid>, InvalidId> {
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Uid::try_from).collect()
}

/// The first `limit` of `items` for a message, and how many more there are.
pub fn list<T: fmt::Display>(items: impl ExactSizeIterator<Item = T>, limit: usize) -> String {
    let more = items.len().saturating_sub(limit);
    let named: Vec<_> = items.take(limit).map(|item| item.to_string()).collect();
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

impl Role {
    /// The role that `replicas` counts.
    pub fn main() -> Self {
        Self(MAIN_ROLE.into())
    }
}

impl Default for Role {
    fn default() -> Self {
        Self::main()
    }
}

/// The name of the role that `replicas` counts, which no other role may have.
pub const MAIN_ROLE: &str = "main";

impl Uid {
    /// The 32 hex digits of the uid, the prefix of all client tokens of its launches.
    pub fn hex(&self) -> String {
        self.0.replace('-', "")
    }
}

/// What the tags of an instance say about its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchTags<'a> {
    pub role: &'a str,
    pub revision: &'a str,
    pub indexes: Option<&'a str>,
}

/// The owner and the nonce of a token: 32 hex digits, a hyphen, and 8 bytes in base64.
const STEM: usize = 32 + 1 + 11;
/// The seals follow after a hyphen: of the request, which finds records that an older CRD has pruned...
const REQUEST_SEAL: usize = 3;
/// ...and of the tags, which whoever may tag instances must not be able to match by trying. In bytes.
const TAGS_SEAL: usize = 11;

impl ClientToken {
    /// A token whose prefix proves the owner of the launch. Unlike a tag, a client token cannot be added to an instance
    /// after its launch.
    pub fn new(owner: &Uid, nonce: u64) -> Self {
        Self(format!("{}-{}", owner.hex(), BASE64_URL_SAFE_NO_PAD.encode(nonce.to_be_bytes())))
    }

    /// The token that also seals the request and the tags of its instances: 64 characters. `owner` is the tag that names
    /// the owner, as `key=value`.
    pub fn sealed(&self, request: &[u8], owner: &str, tags: LaunchTags<'_>) -> Self {
        Self(format!("{}-{}{}", self.stem(), digest::<REQUEST_SEAL>(request), self.seal(owner, tags)))
    }

    pub fn seals_request(&self, request: &[u8]) -> bool {
        self.0.get(STEM + 1..STEM + 5) == Some(&digest::<REQUEST_SEAL>(request))
    }

    /// Whether the instances of this launch were launched with these tags, and for this owner.
    pub fn seals_tags(&self, owner: &str, tags: LaunchTags<'_>) -> bool {
        self.0.get(STEM + 5..) == Some(&self.seal(owner, tags))
    }

    pub fn belongs_to(&self, owner: &Uid) -> bool {
        self.0.strip_prefix(&owner.hex()).is_some_and(|rest| rest.starts_with('-'))
    }

    fn stem(&self) -> &str {
        self.0.get(..STEM).unwrap_or(&self.0)
    }

    fn seal(&self, owner: &str, LaunchTags { role, revision, indexes }: LaunchTags<'_>) -> String {
        // Strings always serialise.
        let sealed = serde_json::to_vec(&(self.stem(), owner, role, revision, indexes)).unwrap_or_default();
        digest::<TAGS_SEAL>(&sealed)
    }
}

/// The first `N` bytes of the SHA-256, in base64.
fn digest<const N: usize>(data: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(data)[..N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_token_proves_its_owner_and_no_other() {
        let ours = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let theirs = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5f").unwrap();
        let token = ClientToken::new(&ours, 7);
        assert_eq!(token.as_str(), "6b4d2a3e9d0c4f6e8f0e1f7a2b3c4d5e-AAAAAAAAAAc");
        assert!(token.belongs_to(&ours));
        assert!(!token.belongs_to(&theirs));
    }

    #[test]
    fn a_client_token_seals_the_request_and_the_tags_of_its_instances() {
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let tags = LaunchTags { role: "main", revision: "web-1", indexes: None };
        let owner = "muster.dev:fleet=ns/web";
        let token = ClientToken::new(&uid, u64::MAX).sealed(b"request", owner, tags);
        assert_eq!(token.as_str().len(), 64);
        assert!(token.belongs_to(&uid) && token.seals_request(b"request") && token.seals_tags(owner, tags));
        assert!(!token.seals_request(b"another"));
        for other in [
            LaunchTags { role: "leader", ..tags },
            LaunchTags { revision: "web-2", ..tags },
            LaunchTags { indexes: Some("0-4"), ..tags },
            LaunchTags { indexes: Some(""), ..tags },
        ] {
            assert!(!token.seals_tags(owner, other), "{other:?}");
        }
        for other in ["muster.dev:fleet=ns/db", "muster.dev:job=ns/web"] {
            assert!(!token.seals_tags(other, tags), "{other}");
        }
        let bare = ClientToken::new(&uid, 7);
        assert!(!bare.seals_tags(owner, tags) && !bare.seals_request(b"request"), "it seals nothing");
        let another = ClientToken::new(&uid, 8).sealed(b"request", owner, tags);
        assert_ne!(token.as_str().get(STEM..), another.as_str().get(STEM..), "no seal fits two tokens");
    }

    #[test]
    fn what_would_change_a_path_is_not_the_name_of_an_object() {
        for name in ["web", "web-346293f26ac0", "kube-root-ca.crt", "1"] {
            assert!(ObjectName::try_from(name).is_ok(), "{name:?}");
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../../ns/secrets/x",
            "a%2Fb",
            "a?x=y",
            "a#b",
            "A",
            "a b",
            "a\n",
            "a\u{1}",
            "-a",
            "a-",
            "a..b",
            "a.-b",
            "\u{e9}",
            &long,
        ] {
            assert!(ObjectName::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_of_another_kind_or_format_are_rejected() {
        for bad in ["", "i-", "i-123", "i-0123456789ABCDEF0", "ami-0123456789abcdef0", "i-0123456789abcdef0 "] {
            assert!(InstanceId::try_from(bad).is_err(), "{bad:?}");
        }
        assert!(InstanceId::try_from("i-0123456789abcdef0").is_ok());
        assert!(InstanceId::try_from("i-01234567").is_ok());
        assert!(AccountId::try_from("12345678901").is_err());
        assert!(Region::try_from("eu-west").is_err());
        assert!(Region::try_from("us-gov-west-1").is_ok());
    }
}
