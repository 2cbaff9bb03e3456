//! Which parameters to write and to remove. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ssm::{Protection, StoredParameter, WantedParameter},
    crd::parameters::{ParameterStore, S3Store},
    ids::{ParameterName, Uid},
    workers::parameters::{document::Document, problem::Problem, values::Values},
};

/// The name of the main role.
pub const MAIN: &str = "main";
/// How many documents or parameters one object may have: their names are in its status.
pub(super) const MAX_WRITTEN: usize = 500;
/// The limit of the advanced tier of Parameter Store, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// The values of each role, by role.
pub(super) type RoleValues = BTreeMap<String, Values>;

/// The document of each role, by role.
pub(super) type RoleDocuments = BTreeMap<String, Document>;

pub(super) fn hashes(documents: &RoleDocuments) -> BTreeMap<String, String> {
    documents.iter().map(|(role, document)| (role.clone(), document.hash.clone())).collect()
}

/// The name of a document below the prefix and the uid.
pub(super) fn document_name(role: &str, hash: &str) -> String {
    format!("{role}/{hash}.json")
}

/// The prefix of the keys of an object's documents.
pub(super) fn base(store: &S3Store, uid: &Uid) -> String {
    store.prefix.as_ref().map_or_else(|| format!("{uid}/"), |prefix| format!("{prefix}/{uid}/"))
}

/// The documents with these hashes, by name. Those of an earlier key of the release are stored already.
pub(super) fn documents<'a>(
    documents: &'a RoleDocuments,
    hashes: &BTreeMap<String, String>,
) -> BTreeMap<String, &'a Document> {
    let current = documents.iter().filter(|(role, document)| hashes.get(*role) == Some(&document.hash));
    current.map(|(role, document)| (document_name(role, &document.hash), document)).collect()
}

/// The recorded parameters of a role, by their names below the path.
pub(super) fn of_role<'a>(written: &'a [String], role: &str) -> impl Iterator<Item = &'a String> {
    written.iter().filter(move |below| below.split_once('/').map_or(MAIN, |(role, _)| role) == role)
}

/// The written documents that no worker reads any more: neither new workers nor those whose revision is in use, which
/// read theirs when they boot again.
pub(super) fn obsolete(written: &[String], current: &BTreeSet<String>, in_use: &BTreeSet<String>) -> BTreeSet<String> {
    let hash = |name: &str| name.rsplit_once('/').and_then(|(_, file)| file.strip_suffix(".json")).map(str::to_owned);
    let needed = |name: &str| hash(name).is_some_and(|hash| current.contains(&hash) || in_use.contains(&hash));
    written.iter().filter(|name| !needed(name)).cloned().collect()
}

/// The path directly above the parameters of a role.
pub(super) fn path_of(store: &ParameterStore, role: &str) -> String {
    if role == MAIN { store.path.clone() } else { format!("{}/{role}", store.path) }
}

/// The desired parameters, by their names below the path.
///
/// # Errors
/// A value that Parameter Store refuses, without the value itself.
pub(super) fn parameters(
    store: &ParameterStore,
    roles: &RoleValues,
) -> Result<BTreeMap<String, WantedParameter>, Problem> {
    let mut all = BTreeMap::new();
    for (role, values) in roles {
        for (name, value) in &values.by_name {
            let below = if role == MAIN { name.clone() } else { format!("{role}/{name}") };
            let refused = match value.text.expose().len() {
                0 => Some("empty, which Parameter Store refuses".to_owned()),
                size if size > MAX_VALUE => {
                    Some(format!("{size} bytes, and Parameter Store takes at most 8192: use S3, or make it shorter"))
                }
                _ => None,
            };
            if let Some(what) = refused {
                return Err(Problem::Unusable(format!("the value of the parameter {below} is {what}")));
            }
            let protection = if value.secure {
                Protection::Encrypted { kms_key_id: store.kms_key_id.clone() }
            } else {
                Protection::Plain
            };
            let name = name_below(store, &below)?;
            all.insert(below, WantedParameter { name, value: value.text.clone(), protection });
        }
    }
    Ok(all)
}

pub(super) fn name_below(store: &ParameterStore, below: &str) -> Result<ParameterName, Problem> {
    ParameterName::try_from(format!("{}/{below}", store.path)).map_err(|error| Problem::Unusable(error.to_string()))
}

/// How the stored parameters differ from the desired ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub create: Vec<WantedParameter>,
    pub overwrite: Vec<WantedParameter>,
    /// Those to overwrite, and those that the record does not list: their owner must be checked first.
    pub doubtful: BTreeSet<ParameterName>,
}

/// A parameter that is as desired is not written again: each write makes a version, and Parameter Store keeps 100.
pub(super) fn compare(
    wanted: &BTreeMap<String, WantedParameter>,
    stored: &BTreeMap<ParameterName, StoredParameter>,
    written: &[String],
) -> Differences {
    let mut differences = Differences::default();
    for (below, wanted) in wanted {
        let Some(stored) = stored.get(&wanted.name) else {
            differences.create.push(wanted.clone());
            continue;
        };
        let same = stored.value == wanted.value && stored.encrypted == (wanted.protection != Protection::Plain);
        if !same {
            differences.overwrite.push(wanted.clone());
        }
        if !same || !written.contains(below) {
            differences.doubtful.insert(wanted.name.clone());
        }
    }
    differences
}

/// The record before a write: the written names and those about to be written.
pub(super) fn with<'a>(written: &'a [String], wanted: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let all: BTreeSet<_> = written.iter().chain(wanted).cloned().collect();
    all.into_iter().collect()
}

/// The record after a removal.
pub(super) fn without(written: &[String], removed: &BTreeSet<String>) -> Vec<String> {
    written.iter().filter(|name| !removed.contains(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{aws::ssm::ParameterValue, crd::parameters::Parameter, workers::parameters::values};

    fn role(values: &[(&str, &str, bool)]) -> Values {
        let list: Vec<Parameter> = values
            .iter()
            .map(|(name, value, secure)| Parameter {
                name: (*name).into(),
                value: Some((*value).into()),
                value_from: None,
                secure: Some(*secure),
            })
            .collect();
        values::resolve(&values::for_role(&list, &[]), &BTreeMap::new()).unwrap()
    }

    fn store() -> ParameterStore {
        ParameterStore { path: "/app".into(), kms_key_id: Some("k".into()) }
    }

    fn stored(value: &str, encrypted: bool) -> StoredParameter {
        StoredParameter { value: ParameterValue::new(value), encrypted, version: 1 }
    }

    fn name(text: &str) -> ParameterName {
        ParameterName::try_from(text).unwrap()
    }

    #[test]
    fn each_role_has_its_own_location() {
        let roles = RoleValues::from([
            (MAIN.to_owned(), role(&[("model", "red", false)])),
            ("leader".to_owned(), role(&[("model", "blue", true)])),
        ]);
        let all = parameters(&store(), &roles).unwrap();
        let names: Vec<_> = all.iter().map(|(below, wanted)| (below.as_str(), wanted.name.as_str())).collect();
        assert_eq!(names, [("leader/model", "/app/leader/model"), ("model", "/app/model")]);
        assert_eq!(all["leader/model"].protection, Protection::Encrypted { kms_key_id: Some("k".into()) });
        assert_eq!(all["model"].protection, Protection::Plain);
        assert_eq!((path_of(&store(), MAIN), path_of(&store(), "leader")), ("/app".into(), "/app/leader".into()));
        let written = ["leader/model", "leaders/model", "model"].map(str::to_owned);
        assert_eq!(of_role(&written, MAIN).collect::<Vec<_>>(), ["model"]);
        assert_eq!(of_role(&written, "leader").collect::<Vec<_>>(), ["leader/model"]);
    }

    #[test]
    fn a_document_of_an_earlier_key_is_not_written_again() {
        let document = |hash: &str| Document { text: "{}".into(), hash: hash.into() };
        let rendered =
            RoleDocuments::from([(MAIN.to_owned(), document("now-1")), ("leader".to_owned(), document("now-2"))]);
        let names = |hashes: &BTreeMap<String, String>| documents(&rendered, hashes).into_keys().collect::<Vec<_>>();
        let mut recorded = hashes(&rendered);
        assert_eq!(names(&recorded), ["leader/now-2.json", "main/now-1.json"]);
        recorded.insert(MAIN.to_owned(), "earlier-1".to_owned());
        assert_eq!(names(&recorded), ["leader/now-2.json"]);
    }

    #[test]
    fn errors_of_parameter_store_are_shown_without_the_value() {
        let refused = |value: &str| {
            let roles = RoleValues::from([(MAIN.to_owned(), role(&[("a", value, true)]))]);
            parameters(&store(), &roles).unwrap_err().message()
        };
        assert!(refused("").contains("the parameter a is empty"));
        let long = "x".repeat(8193);
        assert!(refused(&long).contains("is 8193 bytes") && !refused(&long).contains("xxx"));
    }

    #[test]
    fn only_differing_parameters_are_written_and_only_after_an_ownership_check() {
        let values = role(&[("same", "1", false), ("new", "2", true), ("other", "3", false), ("kind", "4", true)]);
        let wanted = parameters(&store(), &RoleValues::from([(MAIN.to_owned(), values)])).unwrap();
        let there = BTreeMap::from([
            (name("/app/same"), stored("1", false)),
            (name("/app/other"), stored("0", false)),
            (name("/app/kind"), stored("4", false)),
        ]);
        let names = |list: &[WantedParameter]| list.iter().map(|w| w.name.to_string()).collect::<Vec<_>>();
        let recorded = ["same".to_owned(), "other".to_owned()];
        let found = compare(&wanted, &there, &recorded);
        assert_eq!(names(&found.create), ["/app/new"]);
        assert_eq!(names(&found.overwrite), ["/app/kind", "/app/other"]);
        assert_eq!(found.doubtful, BTreeSet::from([name("/app/kind"), name("/app/other")]));
        let unrecorded = compare(&wanted, &there, &[]);
        assert!(unrecorded.doubtful.contains(&name("/app/same")), "of another owner, with the same value");
    }

    #[test]
    fn a_document_is_kept_while_a_used_revision_names_it() {
        let set = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<BTreeSet<_>>();
        let written: Vec<_> =
            set(&["main/a.json", "main/b.json", "leader/c.json", "main/d.json"]).into_iter().collect();
        assert_eq!(obsolete(&written, &set(&["d"]), &set(&["a", "c"])), set(&["main/b.json"]));
        assert_eq!(without(&written, &set(&["main/b.json"])).len(), 3);
        assert_eq!(with(&written, &["main/e.json".to_owned(), "main/a.json".to_owned()]).len(), 5);
    }

    #[test]
    fn keys_contain_the_uid_so_that_objects_share_no_document() {
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let at = |prefix: Option<&str>| base(&S3Store { bucket: "b".into(), prefix: prefix.map(Into::into) }, &uid);
        assert_eq!(at(Some("a/b")), "a/b/6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e/");
        assert_eq!(at(None), "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e/");
    }
}
