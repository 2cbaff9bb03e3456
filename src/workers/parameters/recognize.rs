//! Values whose hash was recorded under an earlier key of the release.

use std::collections::BTreeMap;

use crate::{
    aws::{s3::S3, ssm::Ssm},
    crd::parameters::{ParameterStore, ParametersStatus, RoleHash, S3Store},
    k8s::live::Live,
    workers::{
        kind::WorkerKind,
        parameters::{
            Site,
            document::{self, MAX_SIZE},
            plan::{self, RoleDocuments, RoleValues},
            store::{Stop, bucket_owner},
            values::Values,
        },
    },
};

/// The hashes of the values, by role. A hash of an earlier key stays while the store has these values: a lost key changes
/// no value, so it replaces no worker and nothing is written again. `status` is the record for the current store.
pub(super) async fn hashes<K: WorkerKind>(
    live: &Live<K>,
    site: Site<'_>,
    status: Option<&ParametersStatus>,
    roles: &RoleValues,
    documents: &RoleDocuments,
) -> Result<BTreeMap<String, String>, Stop> {
    let mut hashes = plan::hashes(documents);
    let Some(status) = status else { return Ok(hashes) };
    for RoleHash { name: role, hash } in &status.hashes {
        let Some(values) = roles.get(role).filter(|_| !site.ctx.key.made(hash)) else { continue };
        let same = match (&status.store.s3, &status.store.parameter_store) {
            (Some(s3), _) => has_document(live, site, s3, (role, hash), values).await?,
            // A partly written change may be of either values.
            (None, Some(store)) => {
                !status.writing && has_parameters(site, store, role, &status.written, values).await?
            }
            (None, None) => false,
        };
        if same {
            hashes.insert(role.clone(), hash.clone());
        }
    }
    Ok(hashes)
}

async fn has_document<K: WorkerKind>(
    live: &Live<K>,
    Site { ctx, session, owner }: Site<'_>,
    s3: &S3Store,
    (role, hash): (&str, &str),
    values: &Values,
) -> Result<bool, Stop> {
    let key = format!("{}{}", plan::base(s3, &owner.uid), plan::document_name(role, hash));
    let client = S3::new(session, bucket_owner(ctx, live, session, s3)?, ctx.config.timings.call_deadline);
    let stored = client.read_document(&s3.bucket, &key, MAX_SIZE).await?;
    Ok(stored.is_some_and(|stored| document::holds(&stored, hash, values)))
}

async fn has_parameters(
    site: Site<'_>,
    store: &ParameterStore,
    role: &str,
    written: &[String],
    values: &Values,
) -> Result<bool, Stop> {
    let wanted = plan::parameters(store, &RoleValues::from([(role.to_owned(), values.clone())]))?;
    if !plan::of_role(written, role).eq(wanted.keys()) {
        return Ok(false);
    }
    let names: Vec<_> = wanted.values().map(|wanted| wanted.name.clone()).collect();
    let stored = Ssm::new(site.session).get_parameters(&names).await?;
    Ok(wanted.values().all(|wanted| stored.get(&wanted.name).is_some_and(|stored| stored.value == wanted.value)))
}
