//! The API server accepts every piece of YAML in the documentation, and all links lead to a page or heading.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::installed;

/// An incomplete piece is merged into one of these, depending on its first field.
fn whole(piece: Value) -> Value {
    if piece.get("apiVersion").is_some() {
        return piece;
    }
    let over = if piece.get("spec").is_some() { piece } else { json!({"spec": piece}) };
    let mut base = json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet", "metadata": {"name": "piece"},
        "spec": {"aws": {"region": "eu-west-1"}, "template": {
            "ami": {"id": "ami-0123456789abcdef0"}, "instanceTypes": ["m6i.large"],
            "subnets": {"ids": ["subnet-0123456789abcdef0"]},
        }},
    });
    // An alternative of a field replaces it.
    let fields = ["ami", "instanceTypes", "subnets"];
    fields.iter().filter(|field| over["spec"]["template"].get(field).is_some()).for_each(|field| {
        base["spec"]["template"].as_object_mut().expect("a template").remove(*field);
    });
    crate::support::fleet::with(base, over)
}

/// The pieces of YAML of a page, each with its first line.
fn pieces(page: &str) -> Vec<(usize, Value)> {
    let mut pieces = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, fence)) = lines.next() {
        let Some(indent) = fence.strip_suffix("```yaml") else { continue };
        let text: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let text: Vec<_> = text.iter().map(|line| line.strip_prefix(indent).unwrap_or(line)).collect();
        let documents = serde_yaml::from_multiple::<Value>(&text.join("\n"));
        let documents = documents.unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        pieces.extend(documents.into_iter().map(|document| (number + 1, document)));
    }
    pieces
}

#[tokio::test]
async fn all_yaml_in_the_documentation_is_valid() {
    let kube = installed().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let mut pages: Vec<_> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.push(root.join("README.md"));
    pages.sort();
    let mut offered = 0;
    let mut refused = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for (line, piece) in pieces(&text) {
            let mut manifest = whole(piece);
            if manifest["kind"] != "AwsAccount" {
                manifest["metadata"]["namespace"] = json!(namespace);
            }
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            if let Err(error) = kube.kubectl_with_input(&create, &manifest.to_string()).await {
                refused.push(format!("{}:{line}: {error:#}", page.display()));
            }
            offered += 1;
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(offered >= 20, "only {offered} pieces were found");
}

#[test]
fn links_in_the_documentation_have_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = fs::read_dir(root.join("examples")).expect("examples/").map(|entry| entry.expect("an entry").path());
    let folders: Vec<_> = [root.to_owned(), root.join("docs")].into_iter().chain(examples).collect();
    let mut dead = Vec::new();
    for folder in folders {
        let pages = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(&page).expect("a page");
            let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
            for link in links.filter(|link| !link.contains("://")) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() { page.clone() } else { folder.join(file) };
                let heading = |text: String| text.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
                let is_there = target.exists() && (anchor.is_empty() || fs::read_to_string(&target).is_ok_and(heading));
                if !is_there {
                    dead.push(format!("{}: {link}", page.display()));
                }
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
