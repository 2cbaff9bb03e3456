//! The calls that change a store. Each is made only while no other process can make them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use crate::{
    access::Claim,
    aws::{
        self, Class, Session,
        s3::{Put, S3},
        ssm::{NAMES_PER_CALL, Ssm},
    },
    crd::{
        aws_account::BucketUse,
        parameters::{ParameterStore, ParametersStatus, S3Store},
    },
    ids::{AccountId, ParameterName, Uid},
    inventory::ownership::Owner,
    k8s::live::Live,
    reconcile::{Failure, context::Context},
    tags::{CLUSTER_TAG, OWNER_UID_TAG},
    workers::{
        kind::{WorkerKind, not_stored},
        parameters::{
            Problem,
            document::{Document, MAX_SIZE},
            plan,
        },
    },
    write_ahead::{Acknowledged, Acknowledgement, NotSent},
};

/// Whose parameters they are, and what is needed to reach them.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub ctx: &'a Context,
    pub session: &'a Session,
    pub owner: &'a Owner,
}

/// Why a write stops early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It ends the reconcile.
    Failure(Failure),
    /// It is reported, and the reconcile continues.
    Problem(Problem),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<aws::Error> for Stop {
    fn from(error: aws::Error) -> Self {
        Self::Problem(Problem::Aws(error))
    }
}

/// Permits calls: the stored record names what they write.
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
            Err(NotSent::WindowPassed) => return Err(Problem::Unfinished.into()),
            Err(error @ NotSent::NotLeading) => return Err(Failure::from(error).into()),
        };
        let late = |_| {
            let (code, message) = ("Timeout".into(), "AWS did not answer in time".into());
            aws::Error { operation, class: Class::Transient, code, message }
        };
        Ok(tokio::time::timeout(budget, call).await.map_err(late)??)
    }
}

/// Permits calls for what `wanted` names, if the stored record has all of it.
pub(super) fn guard<'a, K: WorkerKind>(
    ctx: &'a Context,
    answer: &Acknowledgement<K::Status>,
    wanted: ParametersStatus,
) -> Result<Guard<'a>, Failure> {
    let recorded = answer.confirm(wanted, |status| status.as_ref().parameters.parameters.as_ref());
    Ok(Guard { ctx, recorded: recorded.ok_or_else(not_stored::<K>)? })
}

/// What a write of a document found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    AsWritten,
    /// Somebody else had replaced it, so it was written again.
    Replaced,
}

/// Writes a document, unless it is stored already. That its key exists does not mean that its content is right.
pub(super) async fn put(
    guard: &Guard<'_>,
    s3: &S3,
    bucket: &str,
    key: &str,
    document: &Document,
) -> Result<Found, Stop> {
    let text = || document.text.clone();
    match guard.call("s3:PutObject", s3.put_new(bucket, key, text())).await? {
        Put::Created => return Ok(Found::AsWritten),
        Put::Exists => {}
    }
    let stored = guard.call("s3:GetObject", Box::pin(s3.read_document(bucket, key, MAX_SIZE))).await?;
    if stored.is_some_and(|stored| stored == document.text) {
        return Ok(Found::AsWritten);
    }
    guard.call("s3:PutObject", s3.put(bucket, key, text())).await?;
    Ok(Found::Replaced)
}

/// The tags of an object's parameters.
pub(super) fn tags(owner: &Owner) -> BTreeMap<String, String> {
    BTreeMap::from([
        (CLUSTER_TAG.into(), owner.cluster.clone()),
        (owner.tag.into(), owner.path()),
        (OWNER_UID_TAG.into(), owner.uid.to_string()),
    ])
}

/// Those of `names` without the object's tag, with the uid of the earlier object that created them, if one did.
pub(super) async fn not_ours(
    ssm: &Ssm,
    owner: &Owner,
    names: BTreeSet<ParameterName>,
) -> Result<BTreeMap<ParameterName, Option<String>>, aws::Error> {
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    // One call shows most of them. The others may be too new for it, and are requested one by one.
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

/// The parameters that earlier objects of the same name left below the path, by their names below it.
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

/// The existing parameters below the path that belong to the object.
pub(super) async fn own_below(
    ssm: &Ssm,
    store: &ParameterStore,
    owner: &Owner,
    below: &BTreeSet<String>,
) -> Result<Vec<ParameterName>, Stop> {
    if below.is_empty() {
        return Ok(vec![]);
    }
    let names: BTreeSet<_> = below.iter().map(|below| plan::name_below(store, below)).collect::<Result<_, _>>()?;
    // Parameters that are already removed are not requested one by one.
    let there = ssm.existing(&Vec::from_iter(names)).await?;
    let others = not_ours(ssm, owner, there.clone()).await?;
    Ok(there.into_iter().filter(|name| !others.contains_key(name)).collect())
}

pub(super) async fn delete_parameters(ssm: &Ssm, guard: &Guard<'_>, names: &[ParameterName]) -> Result<(), Stop> {
    for names in names.chunks(NAMES_PER_CALL) {
        guard.call("ssm:DeleteParameters", ssm.delete(names)).await?;
    }
    Ok(())
}

/// Removes `names` from the store in `status`.
pub(super) async fn remove<K: WorkerKind>(
    live: &mut Live<K>,
    Site { ctx, session, owner }: Site<'_>,
    status: &ParametersStatus,
    names: &BTreeSet<String>,
) -> Result<(), Stop> {
    match (&status.store.s3, &status.store.parameter_store) {
        (Some(s3), _) => {
            let guard = guard::<K>(ctx, &stored(ctx, live).await?, status.clone())?;
            let owner = bucket_owner(ctx, live, session, s3)?;
            let client = S3::new(session, owner, ctx.config.timings.call_deadline);
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
            // The calls above may take long, so the permit to delete begins after them.
            let guard = guard::<K>(ctx, &stored(ctx, live).await?, status.clone())?;
            delete_parameters(&ssm, &guard, &own).await
        }
        (None, None) => Ok(()),
    }
}

/// The account that must own the bucket.
pub(super) fn bucket_owner<K: WorkerKind>(
    ctx: &Context,
    live: &Live<K>,
    session: &Session,
    s3: &S3Store,
) -> Result<AccountId, Failure> {
    let claim = Claim::folder(&s3.bucket, s3.prefix.as_deref(), BucketUse::Parameters);
    ctx.bucket_owner(live, live.object().workers_spec().aws, session, &claim)
}

/// The stored status: nothing is written, since nothing differs.
async fn stored<K: WorkerKind>(ctx: &Context, live: &mut Live<K>) -> Result<Acknowledgement<K::Status>, Failure> {
    let same = live.status();
    Ok(live.record(&ctx.cluster, same).await?)
}
