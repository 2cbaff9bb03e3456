//! Checks manifests without a cluster, beyond the schema.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use kube::{CustomResourceExt, Resource, api::DynamicObject};
use serde_json::Value;

use crate::{
    error_chain::Chain,
    k8s::live::Live,
    kinds::{self, ForEachKind},
    reconcile::Kind,
};

/// An object that is not in a cluster yet has no uid of its own.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Writes a line for each object of muster in `files`, and returns whether all are valid. `-` is standard input.
///
/// # Errors
/// When a file cannot be read or is not YAML.
pub fn check(files: &[impl AsRef<Path>], out: &mut impl Write) -> Result<bool, Box<dyn std::error::Error>> {
    let (mut found, mut all_valid) = (0, true);
    for file in files {
        let file = file.as_ref();
        let text = read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let documents = serde_yaml::from_multiple::<Value>(&text)
            .map_err(|e| format!("{} is not valid YAML: {e}", file.display()))?;
        for document in documents.into_iter().filter(is_ours) {
            found += 1;
            let object = format!("{} {}", text_at(&document, "/kind"), text_at(&document, "/metadata/name"));
            match problem(document) {
                None => writeln!(out, "{object}: ok")?,
                Some(problem) => {
                    all_valid = false;
                    writeln!(out, "{object}: {problem}")?;
                }
            }
        }
    }
    if found == 0 {
        return Err("the files contain no object of muster.dev".into());
    }
    Ok(all_valid)
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        return io::stdin().read_to_string(&mut text).map(|_| text);
    }
    std::fs::read_to_string(file)
}

fn is_ours(document: &Value) -> bool {
    text_at(document, "/apiVersion").starts_with("muster.dev/")
}

fn text_at<'a>(document: &'a Value, place: &str) -> &'a str {
    document.pointer(place).and_then(Value::as_str).unwrap_or_default()
}

fn problem(document: Value) -> Option<String> {
    struct Find {
        document: Value,
        found: Option<Option<String>>,
    }
    impl ForEachKind for Find {
        fn kind<K: Kind + CustomResourceExt>(&mut self) {
            if text_at(&self.document, "/kind") == K::NAME {
                self.found = Some(problem_of::<K>(self.document.clone()));
            }
        }
    }
    let mut find = Find { document, found: None };
    kinds::for_each(&mut find);
    find.found.unwrap_or_else(|| Some(format!("the kind does not exist: use one of {}", kinds::names().join(", "))))
}

fn problem_of<K: Kind>(document: Value) -> Option<String> {
    let parsed = serde_json::from_value::<DynamicObject>(document).and_then(|mut raw| {
        raw.meta_mut().uid = Some(NO_UID.into());
        Live::<K>::parse(Arc::new(raw))
    });
    match parsed {
        Ok(live) => K::check(&live).err().map(|problem| Chain(&problem).to_string()),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> (bool, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut out = Vec::new();
        let valid = check(&[file.path()], &mut out).unwrap();
        (valid, String::from_utf8(out).unwrap())
    }

    const FLEET: &str = "
apiVersion: muster.dev/v1alpha1
kind: WorkerFleet
metadata: {name: web}
spec:
  replicas: 2
  aws: {region: eu-west-1}
  template:
    ami: {id: ami-0123456789abcdef0}
    instanceTypes: [m6i.large]
    subnets: {ids: [subnet-0123456789abcdef0]}
";

    #[test]
    fn valid_objects_are_confirmed_and_foreign_kinds_are_skipped() {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: boot}}\n---{FLEET}");
        assert_eq!(checked(&text), (true, "WorkerFleet web: ok\n".into()));
    }

    #[test]
    fn the_examples_are_valid() {
        let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).into_iter().flatten());
        let manifests =
            files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "yaml"));
        let (files, mut out) = (manifests.collect::<Vec<_>>(), Vec::new());
        assert!(files.len() > 4, "{files:?}");
        assert!(check(&files, &mut out).unwrap(), "{}", String::from_utf8(out).unwrap());
    }

    #[test]
    fn rules_beyond_the_schema_are_checked() {
        let report = "
apiVersion: muster.dev/v1alpha1
kind: FleetReport
metadata: {name: prod}
spec:
  sources: [{name: a, bucket: my-reports, aws: {region: eu-west-1}}]
  fields: [{name: app, path: '$.app['}]
";
        let annotated = FLEET.replace("{name: web}", "{name: web, annotations: {muster.dev/adopt: earlier}}");
        let (valid, text) = checked(&format!("{annotated}---{report}"));
        assert!(!valid);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("WorkerFleet web: the annotation muster.dev/adopt"), "{text}");
        assert!(lines[1].starts_with("FleetReport prod: ") && lines[1].contains("$.app["), "{text}");
    }

    #[test]
    fn fields_of_a_wrong_type_and_unknown_kinds_are_reported() {
        let (valid, text) = checked(&FLEET.replace("replicas: 2", "replicas: two"));
        assert!(!valid && text.contains("invalid type: string \"two\""), "{text}");
        let (valid, text) = checked(&FLEET.replace("WorkerFleet", "Workerfleet"));
        assert!(!valid && text.contains("the kind does not exist: use one of AwsAccount"), "{text}");
    }

    #[test]
    fn a_file_without_muster_objects_is_not_a_success() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(check(&[file.path()], &mut Vec::new()).is_err());
        assert!(check(&[Path::new("no/such/file.yaml")], &mut Vec::new()).is_err());
    }
}
