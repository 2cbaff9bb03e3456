//! `muster status`: all objects of muster, and what is wrong with them.

use std::io::Write;

use crate::{
    client::{Error, cluster, table},
    kinds,
};
use clap::Args;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[arg(short, long)]
    namespace: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
}

/// Prints a line for each object. Returns whether all are Ready.
///
/// # Errors
/// What could not be read, and why.
pub async fn run(args: StatusArgs, out: &mut impl Write) -> Result<bool, Error> {
    let (client, namespace) = cluster(args.context.as_deref(), args.namespace).await?;
    let (mut rows, mut all_ready) = (Vec::new(), true);
    for crd in kinds::crds() {
        let names = &crd.spec.names;
        let version = crd.spec.versions.first().map(|version| version.name.as_str()).unwrap_or_default();
        let kind = GroupVersionKind::gvk(&crd.spec.group, version, &names.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
        let api = match (crd.spec.scope == "Namespaced", args.all_namespaces) {
            (true, false) => Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource),
            (true, true) | (false, _) => Api::all_with(client.clone(), &resource),
        };
        let found = match api.list(&ListParams::default()).await {
            Ok(found) => found.items,
            Err(error) => {
                all_ready = false;
                rows.push(vec![names.kind.clone(), "".into(), "".into(), "Unknown".into(), error.to_string()]);
                continue;
            }
        };
        for object in found {
            let conditions = object.data["status"]["conditions"].as_array();
            let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
            let text = |field: &str| ready.and_then(|ready| ready[field].as_str()).unwrap_or("-").to_owned();
            let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
            all_ready &= is_ready;
            let what = if is_ready { text("reason") } else { format!("{}: {}", text("reason"), text("message")) };
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            rows.push(vec![names.kind.clone(), namespace, name, text("status"), what]);
        }
    }
    if rows.is_empty() {
        writeln!(out, "there are no objects of muster here")?;
    } else {
        out.write_all(table(&["KIND", "NAMESPACE", "NAME", "READY", "REASON"], rows).as_bytes())?;
    }
    Ok(all_ready)
}
