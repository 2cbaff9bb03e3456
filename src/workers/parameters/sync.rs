//! Brings the values to where workers read them: what is about to be written is recorded first, so that nothing is ever
//! written that is not known to have been.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    crd::{Parameter, ParameterStore, Parameters, ParametersRecord, ParametersStatus, RoleHash, S3Store, Store},
    memory::{Look, Memory},
    plan::{self, Differences, Groups, MAIN, MAX_WRITTEN},
    problem::{Held, Problem},
    reference::{ParametersRef, Place},
    sources::{self, News, Source},
    store::{self, Guard, Stop},
    synced::Synced,
    values,
};
use crate::{
    aws::{Class, Session, s3::S3, ssm::Ssm},
    context::Context,
    ids::{ParameterName, Uid},
    live::Live,
    reconcile::{Failure, Kind},
    workers::{ownership::Owner, status::WorkersStatus},
    write_ahead::Acknowledgement,
};

/// What is in the store is compared with what it is to be once in so many sweeps, besides whenever something changed: it is
/// a call for each object, and what somebody else did to it is seldom.
const COMPARED_IN_SWEEPS: u32 = 60;

/// A kind whose workers have parameters.
pub trait WithParameters:
    Kind<Status: AsRef<WorkersStatus> + AsMut<WorkersStatus>> + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
{
}

impl<K> WithParameters for K where
    K: Kind<Status: AsRef<WorkersStatus> + AsMut<WorkersStatus>>
        + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
{
}

/// What an object wants.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub owner: &'a Owner,
    pub parameters: Option<&'a Parameters>,
    /// The parameters of each role's own. A role without any reads those of the main group.
    pub roles: Vec<(&'a str, &'a [Parameter])>,
    /// The earlier objects of the same name whose machines are taken over, and so what was written for them.
    pub earlier: &'a BTreeSet<Uid>,
    /// Why nothing in AWS may be changed. `None`: it may.
    pub held: Option<Held>,
}

/// Writes what is to be written. To be done before anything is launched that would read it.
///
/// # Errors
/// When Kubernetes does not answer or the status cannot be written. What is wrong with the values or the store is in
/// [`Synced::problem`], so that running workers are looked after all the same.
pub async fn sync<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &mut Live<K>,
    ask: &Ask<'_>,
) -> Result<Synced, Failure> {
    let memory = ctx.parameters.of(live.uid());
    let mut memory = memory.lock().await;
    let Some(parameters) = ask.parameters else {
        memory.clear();
        return Ok(Synced::default());
    };
    let now = ctx.clock.monotonic();
    if memory.last.as_ref().is_some_and(|look| look.earlier != *ask.earlier) {
        memory.doubt();
    }
    if let Some(look) = &memory.last
        && (look.generation, look.held) == (live.generation(), ask.held)
        && !live.is_look_requested()
    {
        let good_for = match ctx.watched.news_since(live.namespace(), &look.sources, look.at) {
            News::Changed => Duration::ZERO,
            News::Unchanged => ctx.config.timings.sweep * COMPARED_IN_SWEEPS,
            News::Unknown => ctx.config.timings.sweep.mul_f64(0.9),
        };
        if now.saturating_duration_since(look.at) < good_for {
            return Ok(look.synced.clone());
        }
    }
    memory.last = None;
    let mut syncing = Syncing { ctx, session, live, ask, parameters, now };
    let (groups, sources) = match syncing.groups(&mut memory).await {
        Ok(found) => found,
        Err(stop) => return syncing.stopped(stop),
    };
    memory.remember(&groups);
    match syncing.write(&mut memory, &groups).await {
        Ok(Found::Compared(synced)) => {
            let generation = syncing.live.generation();
            let (earlier, held, synced_then) = (ask.earlier.clone(), ask.held, synced.clone());
            memory.last = Some(Look { generation, earlier, held, at: now, sources, synced: synced_then });
            Ok(synced)
        }
        Ok(Found::Recorded(synced)) => Ok(synced),
        Err(stop) => syncing.stopped(stop),
    }
}

/// How it is known where workers read their parameters.
enum Found {
    /// What is there is as it is to be, or is known to differ.
    Compared(Synced),
    /// From the record alone, as the store did not answer.
    Recorded(Synced),
}

struct Syncing<'a, K: WithParameters> {
    ctx: &'a Context,
    session: &'a Session,
    live: &'a mut Live<K>,
    ask: &'a Ask<'a>,
    parameters: &'a Parameters,
    now: Instant,
}

impl<'a, K: WithParameters> Syncing<'a, K> {
    fn stopped(&self, stop: Stop) -> Result<Synced, Failure> {
        match stop {
            Stop::Failure(failure) => Err(failure),
            Stop::Problem(problem) => Ok(Synced { problem: Some(problem), ..self.as_recorded() }),
        }
    }

    /// Where the workers so far read their parameters.
    fn as_recorded(&self) -> Synced {
        let record = record(self.live);
        let hashes = record.parameters.iter().filter(|status| status.store == self.parameters.store);
        let hashes = hashes.flat_map(|status| status.hashes.iter().map(|of| (of.name.clone(), of.hash.clone())));
        self.synced(&hashes.collect())
    }

    fn synced(&self, hashes: &BTreeMap<String, String>) -> Synced {
        let Parameters { store, values: _, on_change } = self.parameters;
        let place = |role: &str, hash: &str| match (&store.s3, &store.parameter_store) {
            (Some(s3), _) => Some(Place::S3 {
                bucket: s3.bucket.clone(),
                key: format!("{}{}", plan::base(s3, self.live.uid()), plan::document_name(role, hash)),
            }),
            (None, Some(store)) => Some(Place::ParameterStore { path: plan::path_of(store, role) }),
            (None, None) => None,
        };
        let references = hashes.iter().filter_map(|(role, hash)| {
            let place = place(role, hash)?;
            let region = self.session.region.clone();
            Some((role.clone(), ParametersRef { place, region, hash: hash.clone(), on_change: *on_change }))
        });
        let summary = match (&store.s3, &store.parameter_store) {
            (Some(s3), _) => format!("workers read them from s3://{}/{}", s3.bucket, plan::base(s3, self.live.uid())),
            (None, Some(store)) => format!("workers read them from Parameter Store below {}", store.path),
            (None, None) => String::new(),
        };
        Synced { references: references.collect(), summary, ..Synced::default() }
    }

    /// The values of each group, and what they were taken from.
    async fn groups(&mut self, memory: &mut Memory) -> Result<(Groups, BTreeSet<Source>), Stop> {
        let main: &[Parameter] = &[];
        let groups: Vec<_> = [(MAIN, main)]
            .into_iter()
            .chain(self.ask.roles.iter().copied().filter(|(_, own)| !own.is_empty()))
            .map(|(role, overrides)| (role, values::for_role(&self.parameters.values, overrides)))
            .collect();
        let sources = values::sources(groups.iter().flat_map(|(_, list)| list.iter().copied()));
        let mut contents = BTreeMap::new();
        for source in &sources {
            let content = match sources::read(self.ctx, self.live, source).await {
                Ok(content) => content,
                Err(Failure::Kube { operation: _, source: cause }) => {
                    return Err(Stop::Problem(Problem::unreadable(source, &cause)));
                }
                Err(failure) => return Err(failure.into()),
            };
            contents.insert(source.clone(), content);
        }
        let mut resolved = Groups::new();
        for (role, list) in groups {
            match values::resolve(&list, &contents) {
                Ok(values) => {
                    resolved.insert(role.to_owned(), values);
                }
                Err(unresolved) => {
                    let waited = memory.missing(self.now) >= self.ctx.config.timings.reference_grace;
                    return Err(Stop::Problem(Problem::unresolved(&unresolved, waited)));
                }
            }
        }
        memory.found();
        Ok((resolved, sources))
    }

    async fn write(&mut self, memory: &mut Memory, groups: &Groups) -> Result<Found, Stop> {
        let before = record(self.live).parameters.clone();
        if before.as_ref().is_some_and(|b| b.store != self.parameters.store && !b.written.is_empty()) {
            return Err(Stop::Problem(Problem::StoreChanged));
        }
        let hashes = plan::hashes(groups);
        let recorded: BTreeMap<_, _> = before
            .iter()
            .filter(|before| before.store == self.parameters.store)
            .flat_map(|before| before.hashes.iter().map(|of| (of.name.clone(), of.hash.clone())))
            .collect();
        let period = self.ctx.config.timings.sweep * COMPARED_IN_SWEEPS;
        let verified = memory.is_verified(self.live.generation(), &hashes, self.now, period);
        if let Some(why) = self.ask.held {
            let half_written = record(self.live).parameters.is_some_and(|status| status.writing);
            let unwritten = groups.iter().filter(|(role, _)| half_written || recorded.get(*role) != hashes.get(*role));
            let (roles, values): (Vec<_>, Vec<_>) = unwritten.map(|(role, v)| (role.clone(), v.by_name.len())).unzip();
            let values = values.into_iter().sum();
            let problem = (!roles.is_empty()).then_some(Problem::Held { why, roles, values });
            return Ok(Found::Compared(Synced { problem, ..self.synced(&hashes) }));
        }
        if verified && self.is_as_recorded(&recorded, &hashes) && !self.live.is_look_requested() {
            return Ok(Found::Compared(self.as_recorded()));
        }
        let written = before.map(|before| before.written).unwrap_or_default();
        let Store { s3, parameter_store } = &self.parameters.store;
        let outcome = match (s3, parameter_store) {
            (Some(s3), _) => self.write_documents(s3, groups, &written).await,
            (None, Some(store)) => self.write_parameters(store, groups, &written).await,
            (None, None) => return Err(Stop::Problem(Problem::Unusable("spec.parameters.store is empty".into()))),
        };
        let written = match outcome {
            Ok(written) => written,
            // That a comparison was not answered is no reason to hold back what is known to have been written.
            Err(Stop::Problem(Problem::Aws(error)))
                if self.is_as_recorded(&recorded, &hashes)
                    && matches!(error.class, Class::Throttled | Class::Transient) =>
            {
                tracing::info!(%error, "the parameters could not be compared; it is tried again");
                return Ok(Found::Recorded(self.as_recorded()));
            }
            Err(stop) => return Err(stop),
        };
        self.record(|status| {
            status.hashes =
                hashes.iter().map(|(name, hash)| RoleHash { name: name.clone(), hash: hash.clone() }).collect();
            status.written = written;
            status.writing = false;
        })
        .await?;
        memory.verify(self.live.generation(), &hashes, self.now);
        Ok(Found::Compared(self.synced(&hashes)))
    }

    /// Whether the record says that these values stand in the store. Of a write that did not come to its end it does not,
    /// even where the values are again those from before.
    fn is_as_recorded(&self, recorded: &BTreeMap<String, String>, hashes: &BTreeMap<String, String>) -> bool {
        recorded == hashes && !record(self.live).parameters.is_some_and(|status| status.writing)
    }

    /// The record after it: what is obsolete is removed later, see [`tidy`].
    async fn write_documents(
        &mut self,
        s3: &S3Store,
        groups: &Groups,
        written: &[String],
    ) -> Result<Vec<String>, Stop> {
        let documents = plan::documents(groups);
        // A document never changes, so there are never some that have and some that have not.
        let (guard, written) = self.about_to_write(written, documents.keys(), false).await?;
        let client = S3::new(self.session, self.ctx.config.timings.call_deadline);
        let base = plan::base(s3, self.live.uid());
        for (name, document) in documents {
            guard.call("s3:PutObject", client.put_new(&s3.bucket, &format!("{base}{name}"), document)).await?;
        }
        Ok(written)
    }

    /// The record after it: what is no longer wanted is removed.
    async fn write_parameters(
        &mut self,
        store: &ParameterStore,
        groups: &Groups,
        written: &[String],
    ) -> Result<Vec<String>, Stop> {
        let wanted = plan::parameters(store, groups).map_err(|what| Stop::Problem(Problem::Unusable(what)))?;
        let ssm = Ssm::new(self.session);
        let names: Vec<ParameterName> = wanted.values().map(|wanted| wanted.name.clone()).collect();
        let stored = ssm.get_parameters(&names).await?;
        let owner = self.ask.owner;
        let left = store::left_behind(&ssm, store, owner, self.ask.earlier).await?;
        let mut differences = plan::compare(&wanted, &stored, written);
        differences.doubtful.retain(|name| !left.values().any(|left| left == name));
        let is_whole = written.iter().all(|below| wanted.contains_key(below));
        let rests = differences == Differences::default() && is_whole && left.is_empty();
        let _writer = if rests { None } else { Some(ssm.writer()?) };
        let taken = store::not_ours(&ssm, owner, differences.doubtful).await?;
        if !taken.is_empty() {
            let earlier = taken.values().flatten().next().cloned();
            let names = taken.keys().map(ToString::to_string).collect();
            return Err(Stop::Problem(Problem::Taken { names, earlier }));
        }
        // Asking may take long, so what allows to write and to delete begins after it.
        let mut surplus: BTreeSet<_> = written.iter().filter(|below| !wanted.contains_key(*below)).cloned().collect();
        let mut unwanted: BTreeSet<_> = store::own_below(&ssm, store, owner, &surplus).await?.into_iter().collect();
        let left_over = || left.iter().filter(|(below, _)| !wanted.contains_key(*below));
        unwanted.extend(left_over().map(|(_, name)| name.clone()));
        surplus.extend(left_over().map(|(below, _)| below.clone()));
        let (guard, written) = self.about_to_write(written, wanted.keys().chain(left.keys()), !rests).await?;
        let tags = store::tags(owner);
        for name in left.values() {
            guard.call("ssm:AddTagsToResource", ssm.add_tags(name, &tags)).await?;
        }
        for parameter in &differences.create {
            guard.call("ssm:PutParameter", ssm.create(parameter, &tags)).await?;
        }
        for parameter in &differences.overwrite {
            guard.call("ssm:PutParameter", ssm.overwrite(parameter)).await?;
        }
        store::delete_parameters(&ssm, &guard, &unwanted.into_iter().collect::<Vec<_>>()).await?;
        Ok(plan::without(&written, &surplus))
    }

    /// Records what is about to be written, and whether values that stand there are.
    async fn about_to_write<'b>(
        &mut self,
        written: &'b [String],
        wanted: impl Iterator<Item = &'b String>,
        writing: bool,
    ) -> Result<(Guard<'a>, Vec<String>), Stop> {
        let all = plan::with(written, wanted);
        if all.len() > MAX_WRITTEN {
            let what = format!(
                "{} documents or parameters would have to be kept for this object, and at most {MAX_WRITTEN} can be: have \
                 fewer, or let workers of old revisions end",
                all.len()
            );
            return Err(Stop::Problem(Problem::Unusable(what)));
        }
        let recorded = all.clone();
        let (answer, wanted) = self
            .record(|status| {
                status.written = recorded;
                status.writing |= writing;
            })
            .await?;
        Ok((store::guard(self.ctx, &answer, wanted)?, all))
    }

    /// What the API server answered, and what it was to store.
    async fn record(
        &mut self,
        change: impl FnOnce(&mut ParametersStatus),
    ) -> Result<(Acknowledgement<K::Status>, ParametersStatus), Failure> {
        let mut status = self.live.status();
        let workers: &mut WorkersStatus = status.as_mut();
        workers.aws.get_or_insert_with(|| self.session.into());
        let record = &mut workers.parameters;
        let store = self.parameters.store.clone();
        let new = || ParametersStatus { store, hashes: vec![], written: vec![], writing: false };
        let mut parameters =
            record.parameters.take().filter(|old| old.store == self.parameters.store).unwrap_or_else(new);
        change(&mut parameters);
        record.parameters_hash = parameters.hashes.iter().find(|of| of.name == MAIN).map(|of| of.hash.clone());
        record.parameters = Some(parameters.clone());
        Ok((self.live.record(self.ctx, status).await?, parameters))
    }
}

pub(super) fn record<K: WithParameters>(live: &Live<K>) -> ParametersRecord {
    live.status().as_ref().parameters.clone()
}
