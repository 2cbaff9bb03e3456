//! Checks manifests without a cluster, beyond the schema.

use std::{
    io::{self, Read, Write},
    path::Path,
    pin::Pin,
    sync::Arc,
};

use kube::{CustomResourceExt, Resource, api::DynamicObject};
use serde_json::Value;

use crate::{
    aws::Aws,
    error_chain::Chain,
    k8s::live::Live,
    kinds::{self, ForEachKind},
    reconcile::{Forecast, Kind},
};

/// An object that is not in a cluster yet has no uid of its own.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Writes a line for each object of muster in `files`, and returns whether all are valid. `-` is standard input. With
/// `aws`, the lines after it say what would be done there and what would be in the way, and an object that could do nothing
/// before somebody changes something is not valid.
///
/// # Errors
/// When a file cannot be read or is not YAML.
pub async fn check(
    files: &[impl AsRef<Path>],
    aws: Option<&Aws>,
    out: &mut impl Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    let (mut found, mut all_valid) = (0, true);
    for file in files {
        let file = file.as_ref();
        let text = read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let documents = serde_yaml::from_multiple::<Value>(&text)
            .map_err(|e| format!("{} is not valid YAML: {e}", file.display()))?;
        for document in documents.into_iter().filter(is_ours) {
            found += 1;
            let object = format!("{} {}", text_at(&document, "/kind"), text_at(&document, "/metadata/name"));
            match checked(document, aws).await {
                Ok(None) => writeln!(out, "{object}: ok")?,
                Ok(Some(Forecast { steps, notes, is_stalled })) => {
                    all_valid &= !is_stalled;
                    let verdict = if is_stalled { "would be Stalled" } else { "ok" };
                    let nothing = if steps.is_empty() { ", nothing would be changed" } else { "" };
                    writeln!(out, "{object}: {verdict}{nothing}")?;
                    for step in steps {
                        writeln!(out, "  would {step}")?;
                    }
                    for note in notes {
                        writeln!(out, "  {note}")?;
                    }
                }
                Err(problem) => {
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

/// What would be done, if that can be told.
///
/// # Errors
/// What is wrong with the object.
async fn checked(document: Value, aws: Option<&Aws>) -> Result<Option<Forecast>, String> {
    type Steps<'a> = Pin<Box<dyn Future<Output = Result<Option<Forecast>, String>> + 'a>>;
    struct Find<'a> {
        document: Value,
        aws: Option<&'a Aws>,
        found: Option<Steps<'a>>,
    }
    impl ForEachKind for Find<'_> {
        fn kind<K: Kind + CustomResourceExt>(&mut self) {
            if text_at(&self.document, "/kind") == K::NAME {
                self.found = Some(Box::pin(checked_of::<K>(self.document.clone(), self.aws)));
            }
        }
    }
    let mut find = Find { document, aws, found: None };
    kinds::for_each(&mut find);
    match find.found {
        Some(steps) => steps.await,
        None => Err(format!("the kind does not exist: use one of {}", kinds::names().join(", "))),
    }
}

async fn checked_of<K: Kind>(document: Value, aws: Option<&Aws>) -> Result<Option<Forecast>, String> {
    let parsed = serde_json::from_value::<DynamicObject>(document).and_then(|mut raw| {
        raw.meta_mut().uid = Some(NO_UID.into());
        Live::<K>::parse(Arc::new(raw))
    });
    let live = parsed.map_err(|error| error.to_string())?;
    K::check(&live).map_err(|problem| Chain(&problem).to_string())?;
    match aws {
        Some(aws) => K::preview(aws, &live).await.map_err(|problem| Chain(&problem).to_string()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn checked(text: &str) -> (bool, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut out = Vec::new();
        let valid = check(&[file.path()], None, &mut out).now_or_never().unwrap().unwrap();
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
        assert!(check(&files, None, &mut out).now_or_never().unwrap().unwrap(), "{}", String::from_utf8(out).unwrap());
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
        assert!(check(&[file.path()], None, &mut Vec::new()).now_or_never().unwrap().is_err());
        assert!(check(&[Path::new("no/such/file.yaml")], None, &mut Vec::new()).now_or_never().unwrap().is_err());
    }
}
