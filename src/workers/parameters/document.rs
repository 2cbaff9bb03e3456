//! The document of a role, and the hash that identifies its values in the status, in keys and in user data.
//!
//! The document contains a salt, which only those know who may read the document or the key of the release. So everybody
//! who knows the hash can verify a document, but not try out values. The salt follows from the key, the uid and the
//! values: a restarted controller renders the same document.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::Uid,
    k8s::release_key::ReleaseKey,
    workers::parameters::{problem::Problem, values::Values},
};

/// Larger ones are neither written nor read. Workers have the same limit.
pub(super) const MAX_SIZE: u64 = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    salt: String,
    values: BTreeMap<String, String>,
}

/// The values of a role as they are stored. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub text: String,
    pub hash: String,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Document {
    pub(super) fn new(values: &Values, key: &ReleaseKey, uid: &Uid) -> Self {
        let values = plain(values);
        // A map of strings is always valid JSON.
        let json = serde_json::to_string(&values).unwrap_or_default();
        let salt = hex::encode(key.mac(&[uid.as_str(), &json]));
        let text = serde_json::to_string(&Content { salt, values }).unwrap_or_default();
        let hash = key.label(&digest(text.as_bytes()));
        Self { text, hash }
    }

    /// # Errors
    /// When it is too large.
    pub(super) fn check_size(&self, role: &str) -> Result<(), Problem> {
        let size = self.text.len() as u64;
        if size <= MAX_SIZE {
            return Ok(());
        }
        Err(Problem::Unusable(format!(
            "the parameters of the role {role} are {size} bytes together, and at most {MAX_SIZE} are allowed: use fewer or \
             shorter values"
        )))
    }
}

/// Whether a stored document is the one of this hash, whichever key it was written with, and has these values.
pub(super) fn holds(stored: &[u8], hash: &str, values: &Values) -> bool {
    hash.split_once('-').is_some_and(|(_, expected)| digest(stored) == expected)
        && serde_json::from_slice(stored).is_ok_and(|content: Content| content.values == plain(values))
}

fn plain(values: &Values) -> BTreeMap<String, String> {
    values.by_name.iter().map(|(name, value)| (name.clone(), value.text.expose().to_owned())).collect()
}

/// Workers compare it too: see `fetch.py`.
fn digest(text: &[u8]) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crd::parameters::Parameter, workers::parameters::values};

    const UIDS: [&str; 2] = ["6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e", "7c5e3b4f-9d0c-4f6e-8f0e-1f7a2b3c4d5e"];

    fn of(text: &str) -> Values {
        let list = [Parameter { name: "pin".into(), value: Some(text.into()), value_from: None, secure: Some(true) }];
        values::resolve(&values::for_role(&list, &[]), &BTreeMap::new()).unwrap()
    }

    fn document(text: &str, key: u8, uid: &str) -> Document {
        Document::new(&of(text), &ReleaseKey::new([key; 32]), &Uid::try_from(uid).unwrap())
    }

    #[test]
    fn a_document_is_rendered_the_same_each_time_and_has_another_hash_in_each_object_and_release() {
        let first = document("4711", 1, UIDS[0]);
        assert_eq!(first, document("4711", 1, UIDS[0]), "after a crash");
        let others = [document("4711", 1, UIDS[1]), document("4711", 2, UIDS[0]), document("4712", 1, UIDS[0])];
        for other in others {
            assert_ne!(first.hash, other.hash);
            assert_ne!(first.hash.split_once('-').unwrap().1, other.hash.split_once('-').unwrap().1);
        }
        assert!(first.hash.len() <= 64, "the limit of the status");
        assert!(!format!("{first:?}").contains("4711"));
    }

    /// Everything that is public is known to somebody who tries out values: names, uid, hash and the form of a document.
    #[test]
    fn without_the_key_no_hash_lets_a_value_be_verified() {
        let secret = document("4711", 1, UIDS[0]);
        let public = secret.hash.split_once('-').unwrap().1;
        for pin in 0..10_000 {
            let pin = pin.to_string();
            let values = plain(&of(&pin));
            let json = serde_json::to_string(&values).unwrap();
            let guesses = [
                json.clone(),
                format!("{}{json}", UIDS[0]),
                format!("{}\0{json}", UIDS[0]),
                serde_json::to_string(&Content { salt: String::new(), values: values.clone() }).unwrap(),
                serde_json::to_string(&Content { salt: UIDS[0].into(), values }).unwrap(),
                document(&pin, 0, UIDS[0]).text,
            ];
            assert!(guesses.iter().all(|guess| digest(guess.as_bytes()) != public), "{pin}");
        }
    }

    #[test]
    fn a_stored_document_is_recognized_by_its_hash_and_its_values() {
        let document = document("4711", 1, UIDS[0]);
        let stored = document.text.as_bytes();
        assert!(holds(stored, &document.hash, &of("4711")));
        assert!(!holds(stored, &document.hash, &of("4712")), "other values");
        let tampered = document.text.replace("4711", "4712");
        assert!(!holds(tampered.as_bytes(), &document.hash, &of("4712")), "another hash");
        assert!(!holds(b"", "", &of("4711")) && !holds(b"{}", &format!("k-{}", digest(b"{}")), &of("4711")));
    }

    #[test]
    fn a_document_that_is_too_large_is_refused() {
        let large = document(&"x".repeat(MAX_SIZE as usize), 1, UIDS[0]).check_size("main").unwrap_err().message();
        assert!(large.contains("the parameters of the role main are 41943"), "{large}");
        assert_eq!(document("4711", 1, UIDS[0]).check_size("main"), Ok(()));
    }
}
