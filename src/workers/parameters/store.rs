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
    workers::{
        ownership::{CLUSTER_TAG, OWNER_TAG, OWNER_UID_TAG, Owner},
        status::WorkersStatus,
    },
    write_ahead::{Acknowledged, Acknowledgement, NotSent},
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
    recorded: Acknowledged<ParametersStatus>,
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

/// Allows calls about what `wanted` names, which the record must show whole.
pub(super) fn guard<'a, S: AsRef<WorkersStatus>>(
    ctx: &'a Context,
    answer: &Acknowledgement<S>,
    wanted: ParametersStatus,
) -> Result<Guard<'a>, Failure> {
    let recorded = answer.confirm(wanted, |status| status.as_ref().parameters.parameters.as_ref());
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

/// Those of the parameters below the path that are there and are the object's own.
pub(super) async fn own_below(
    ssm: &Ssm,
    store: &ParameterStore,
    owner: &Owner,
    below: &BTreeSet<String>,
) -> Result<Vec<ParameterName>, Stop> {
    if below.is_empty() {
        return Ok(vec![]);
    }
    let names: Result<BTreeSet<_>, _> = below.iter().map(|below| plan::name_below(store, below)).collect();
    let names = names.map_err(|what| Stop::Problem(Problem::Unusable(what)))?;
    // What an earlier look has removed is not asked about one by one.
    let there = ssm.existing(&names.into_iter().collect::<Vec<_>>()).await?;
    let others = not_ours(ssm, owner, there.clone()).await?;
    Ok(there.into_iter().filter(|name| !others.contains_key(name)).collect())
}

pub(super) async fn delete_parameters(ssm: &Ssm, guard: &Guard<'_>, names: &[ParameterName]) -> Result<(), Stop> {
    for names in names.chunks(NAMES_PER_CALL) {
        guard.call("ssm:DeleteParameters", ssm.delete(names)).await?;
    }
    Ok(())
}

/// Removes what `names` names of what was written to a store, as `status` has it.
pub(super) async fn remove<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &mut Live<K>,
    status: &ParametersStatus,
    owner: &Owner,
    names: &BTreeSet<String>,
) -> Result<(), Stop> {
    match (&status.store.s3, &status.store.parameter_store) {
        (Some(s3), _) => {
            let guard = guard(ctx, &stored(ctx, live).await?, status.clone())?;
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
            let own = own_below(&ssm, store, owner, names).await?;
            // Asking may take long, so what allows to delete begins after it.
            let guard = guard(ctx, &stored(ctx, live).await?, status.clone())?;
            delete_parameters(&ssm, &guard, &own).await
        }
        (None, None) => Ok(()),
    }
}

/// What was stored last: nothing is written, as nothing differs.
async fn stored<K: WithParameters>(ctx: &Context, live: &mut Live<K>) -> Result<Acknowledgement<K::Status>, Failure> {
    let same = live.status();
    live.record(ctx, same).await
}
