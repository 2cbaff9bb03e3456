//! The calls that change a store, each made only while it is sure that no other process makes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use super::{
    crd::{ParameterStore, ParametersStatus},
    plan,
    problem::Problem,
    sync::WithParameters,
};
use crate::{
    aws::{
        self, Class, Session,
        s3::S3,
        ssm::{NAMES_PER_CALL, Ssm},
    },
    condition::Reason,
    context::Context,
    ids::{ParameterName, Uid},
    live::Live,
    reconcile::Failure,
    workers::ownership::{CLUSTER_TAG, OWNER_TAG, OWNER_UID_TAG, Owner},
    write_ahead::{Acknowledged, NotSent},
};

/// Why a write ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Kubernetes is in the way: the whole look ends.
    Failure(Failure),
    /// Something that the user is told, and that does not keep the rest from being done.
    Problem(Problem),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<aws::Error> for Stop {
    fn from(error: aws::Error) -> Self {
        Self::Problem(Problem::Aws(error))
    }
}

/// What allows calls: the record shows what they write.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    ctx: &'a Context,
    recorded: Acknowledged<Vec<String>>,
}

impl Guard<'_> {
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, aws::Error>>,
    ) -> Result<T, Stop> {
        let now = self.ctx.clock.monotonic();
        let budget = match self.recorded.sendable(now, &self.ctx.leadership, &self.ctx.config.timings) {
            Ok(budget) => budget,
            Err(NotSent::WindowPassed) => return Err(Stop::Problem(Problem::Unfinished)),
            Err(error @ NotSent::NotLeading) => return Err(Stop::Failure(error.into())),
        };
        match tokio::time::timeout(budget, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Stop::Problem(Problem::Aws(aws::Error {
                operation,
                class: Class::Transient,
                code: "Timeout".into(),
                message: "AWS did not answer in time".into(),
            }))),
        }
    }
}

/// Allows calls about what `written` names, which the record must show.
pub(super) async fn guard<'a, K: WithParameters>(
    ctx: &'a Context,
    live: &Live<K>,
    written: &[String],
) -> Result<Guard<'a>, Failure> {
    let mut same = live.clone();
    // Writes nothing, as nothing differs, and gives what was stored last.
    let answer = same.record(ctx, live.status()).await?;
    let written = written.to_vec();
    let recorded = answer.confirm(written, |status| status.as_ref().parameters.parameters.as_ref().map(|p| &p.written));
    let recorded = recorded.ok_or_else(|| Failure::Refused {
        reason: Reason::InvalidSpec,
        message:
            "the API server did not keep what was recorded before a call, so no call was made: the CRD is of another \
                  version than this controller; apply the CRDs that belong to it"
                .into(),
    })?;
    Ok(Guard { ctx, recorded })
}

/// What parameters are known by as those of an object.
pub(super) fn tags(owner: &Owner) -> BTreeMap<String, String> {
    BTreeMap::from([
        (CLUSTER_TAG.into(), owner.cluster.clone()),
        (OWNER_TAG.into(), owner.path()),
        (OWNER_UID_TAG.into(), owner.uid.to_string()),
    ])
}

/// Those of `names` that exist and do not carry the tag of the object, with the uid of the earlier object of its name that
/// made them, if one did.
pub(super) async fn not_ours(
    ssm: &Ssm,
    owner: &Owner,
    names: BTreeSet<ParameterName>,
) -> Result<BTreeMap<ParameterName, Option<String>>, aws::Error> {
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    // One call shows most of them; what it does not show yet is asked for one by one.
    let uid = (OWNER_UID_TAG.to_owned(), owner.uid.to_string());
    let tagged = ssm.names_by_tags(&BTreeMap::from([uid])).await?;
    for name in names.into_iter().filter(|name| !tagged.contains(name)) {
        match ssm.list_tags(&name).await {
            Ok(tags) if tags.get(OWNER_UID_TAG).map(String::as_str) == Some(owner.uid.as_str()) => {}
            Ok(mut tags) => {
                let earlier =
                    self::tags(owner).iter().all(|(key, value)| key == OWNER_UID_TAG || tags.get(key) == Some(value));
                found.insert(name, tags.remove(OWNER_UID_TAG).filter(|_| earlier));
            }
            Err(error) if error.class == Class::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What earlier objects of the same name left below the path, by its name there.
pub(super) async fn left_behind(
    ssm: &Ssm,
    store: &ParameterStore,
    owner: &Owner,
    earlier: &BTreeSet<Uid>,
) -> Result<BTreeMap<String, ParameterName>, aws::Error> {
    let mut found = BTreeMap::new();
    for uid in earlier.iter().filter(|uid| **uid != owner.uid) {
        let names = ssm.names_by_tags(&tags(&Owner { uid: uid.clone(), ..owner.clone() })).await?;
        let below = |name: &ParameterName| {
            let below = name.as_str().strip_prefix(&store.path)?.strip_prefix('/')?;
            Some((below.to_owned(), name.clone()))
        };
        found.extend(names.iter().filter_map(below));
    }
    Ok(found)
}

/// Removes parameters, but for those that are somebody else's.
pub(super) async fn remove_parameters(
    ssm: &Ssm,
    guard: &Guard<'_>,
    store: &ParameterStore,
    owner: &Owner,
    below: &BTreeSet<String>,
) -> Result<(), Stop> {
    if below.is_empty() {
        return Ok(());
    }
    let names: Result<BTreeSet<_>, _> = below.iter().map(|below| plan::name_below(store, below)).collect();
    let names = names.map_err(|what| Stop::Problem(Problem::Unusable(what)))?;
    // What an earlier look has removed is not asked about one by one.
    let there = ssm.existing(&names.into_iter().collect::<Vec<_>>()).await?;
    let others = not_ours(ssm, owner, there.clone()).await?;
    let ours: Vec<_> = there.into_iter().filter(|name| !others.contains_key(name)).collect();
    for names in ours.chunks(NAMES_PER_CALL) {
        guard.call("ssm:DeleteParameters", ssm.delete(names)).await?;
    }
    Ok(())
}

/// Removes what `names` names of what was written to a store.
pub(super) async fn remove<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &Live<K>,
    status: &ParametersStatus,
    owner: &Owner,
    names: &BTreeSet<String>,
) -> Result<(), Stop> {
    if names.is_empty() {
        return Ok(());
    }
    let guard = guard(ctx, live, &status.written).await?;
    match (&status.store.s3, &status.store.parameter_store) {
        (Some(s3), _) => {
            let client = S3::new(session, ctx.config.timings.call_deadline);
            let base = plan::base(s3, live.uid());
            for name in names {
                guard.call("s3:DeleteObject", client.delete(&s3.bucket, &format!("{base}{name}"))).await?;
            }
            Ok(())
        }
        (None, Some(store)) => {
            let ssm = Ssm::new(session);
            let _writer = ssm.writer()?;
            remove_parameters(&ssm, &guard, store, owner, names).await
        }
        (None, None) => Ok(()),
    }
}
