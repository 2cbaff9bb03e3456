//! Writes the values to the store. They are recorded first, so that the record names all that is in the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kube::runtime::events::EventType;

use crate::{
    aws::{Class, Session, s3::S3, ssm::Ssm},
    crd::{
        parameters::{
            Parameter, ParameterStore, Parameters, ParametersRecord, ParametersStatus, RoleHash, S3Store, Store,
        },
        workers_status::WorkersStatus,
    },
    ids::{ParameterName, Uid},
    inventory::ownership::Owner,
    k8s::{
        cluster::Error,
        live::Live,
        sources::{self, Change, Source},
    },
    reconcile::{Failure, context::Context},
    workers::{
        kind::WorkerKind,
        parameters::{
            Held, MAIN, Memory, ParametersPlace, ParametersRef, Problem, Site, Synced,
            document::Document,
            memory::{Comparison, Verified},
            plan::{self, MAX_WRITTEN, RoleDocuments, RoleValues},
            recognize,
            store::{self, Found, Stop},
            values,
        },
    },
    write_ahead::Acknowledgement,
};

/// How many sweeps pass between comparisons with the store: each is a call per object, and drift is rare.
const COMPARED_IN_SWEEPS: u32 = 60;

/// The desired parameters of an object.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub site: Site<'a>,
    pub parameters: Option<&'a Parameters>,
    /// The parameters that each role adds or overrides. A role without any reads those of the main role.
    pub roles: Vec<(&'a str, &'a [Parameter])>,
    /// The earlier objects of the same name whose instances, and so whose parameters, are adopted.
    pub earlier: &'a BTreeSet<Uid>,
    /// Why nothing in AWS may be changed, if so.
    pub held: Option<Held>,
}

/// Writes the parameters, before anything is launched that reads them.
///
/// # Errors
/// When Kubernetes does not answer or the status cannot be written. Problems with the values or the store are in
/// [`Synced::problem`], so that running workers are reconciled nevertheless.
pub async fn sync<K: WorkerKind>(live: &mut Live<K>, ask: &Ask<'_>, memory: &mut Memory) -> Result<Synced, Failure> {
    let Some(parameters) = ask.parameters else {
        memory.clear();
        return Ok(Synced::default());
    };
    let Site { ctx, session, owner } = ask.site;
    let now = ctx.clock.monotonic();
    if memory.last.as_ref().is_some_and(|last| last.earlier != *ask.earlier) {
        memory.doubt();
    }
    if let Some(last) = &memory.last
        && (last.generation, last.held) == (live.generation(), ask.held)
        && !live.is_reconcile_requested()
    {
        let good_for = match ctx.watched.change_since(live.namespace(), &last.sources, last.at) {
            Change::Changed => Duration::ZERO,
            Change::Unchanged => ctx.config.timings.sweep * COMPARED_IN_SWEEPS,
            Change::Unknown => ctx.config.timings.sweep.mul_f64(0.9),
        };
        if now.saturating_duration_since(last.at) < good_for {
            return Ok(last.synced.clone());
        }
    }
    memory.last = None;
    let mut syncing = Syncing { ctx, session, owner, live, ask, parameters, now };
    match syncing.run(memory).await {
        Ok(synced) => Ok(synced),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Problem(problem)) => Ok(Synced { problem: Some(problem), ..syncing.as_recorded() }),
    }
}

struct Syncing<'a, K: WorkerKind> {
    ctx: &'a Context,
    session: &'a Session,
    owner: &'a Owner,
    live: &'a mut Live<K>,
    ask: &'a Ask<'a>,
    parameters: &'a Parameters,
    now: Instant,
}

impl<'a, K: WorkerKind> Syncing<'a, K> {
    async fn run(&mut self, memory: &mut Memory) -> Result<Synced, Stop> {
        let (roles, sources) = self.roles(memory).await?;
        let render = |(role, values): (&String, _)| {
            let document = Document::new(values, &self.ctx.key, self.live.uid());
            document.check_size(role).map(|()| (role.clone(), document))
        };
        let documents: RoleDocuments = roles.iter().map(render).collect::<Result<_, _>>()?;
        memory.remember(&roles, &plan::hashes(&documents));
        let (synced, is_compared) = self.write(memory, &roles, &documents).await?;
        memory.last = is_compared.then(|| Comparison {
            generation: self.live.generation(),
            earlier: self.ask.earlier.clone(),
            held: self.ask.held,
            at: self.now,
            sources,
            synced: synced.clone(),
        });
        Ok(synced)
    }

    /// The references of existing workers.
    fn as_recorded(&self) -> Synced {
        self.synced(&self.recorded(record(self.live).parameters.as_ref()))
    }

    /// The hashes by role that `status` has for the current store.
    fn recorded(&self, status: Option<&ParametersStatus>) -> BTreeMap<String, String> {
        let hashes = status.filter(|status| status.store == self.parameters.store).map(|status| &status.hashes);
        hashes.into_iter().flatten().map(|of| (of.name.clone(), of.hash.clone())).collect()
    }

    fn synced(&self, hashes: &BTreeMap<String, String>) -> Synced {
        let Parameters { store, values: _, on_change } = self.parameters;
        let place = |role: &str, hash: &str| match (&store.s3, &store.parameter_store) {
            (Some(s3), _) => Some(ParametersPlace::S3 {
                bucket: s3.bucket.clone(),
                key: format!("{}{}", plan::base(s3, self.live.uid()), plan::document_name(role, hash)),
            }),
            (None, Some(store)) => Some(ParametersPlace::ParameterStore { path: plan::path_of(store, role) }),
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

    /// The values of each role, and their sources.
    async fn roles(&mut self, memory: &mut Memory) -> Result<(RoleValues, BTreeSet<Source>), Stop> {
        let main: &[Parameter] = &[];
        let roles: Vec<_> = [(MAIN, main)]
            .into_iter()
            .chain(self.ask.roles.iter().copied().filter(|(_, own)| !own.is_empty()))
            .map(|(role, overrides)| (role, values::for_role(&self.parameters.values, overrides)))
            .collect();
        let sources = values::sources(roles.iter().flat_map(|(_, list)| list.iter().copied()));
        let mut contents = BTreeMap::new();
        for source in &sources {
            if matches!(source, Source::Secret(name) if self.ctx.config.is_key(self.live.namespace(), name)) {
                let why =
                    format!("{source} holds the key of this release, which no worker may know: use another Secret");
                return Err(Problem::Unusable(why).into());
            }
            let content = match sources::read(&self.ctx.cluster, self.live, source).await {
                Ok(content) => content,
                Err(Error::Call { operation: _, source: cause }) => {
                    return Err(Problem::unreadable(source, &cause).into());
                }
                Err(error) => return Err(Failure::from(error).into()),
            };
            contents.insert(source.clone(), content);
        }
        let mut resolved = RoleValues::new();
        for (role, list) in roles {
            let values = values::resolve(&list, &contents).map_err(|unresolved| {
                let since = *memory.missing_since.get_or_insert(self.now);
                let waited = self.now.saturating_duration_since(since) >= self.ctx.config.timings.reference_grace;
                Problem::unresolved(&unresolved, waited)
            })?;
            resolved.insert(role.to_owned(), values);
        }
        memory.missing_since = None;
        Ok((resolved, sources))
    }

    /// Returns false if the store did not answer and the references are from the record alone.
    async fn write(
        &mut self,
        memory: &mut Memory,
        roles: &RoleValues,
        documents: &RoleDocuments,
    ) -> Result<(Synced, bool), Stop> {
        let before = record(self.live).parameters;
        if before.as_ref().is_some_and(|b| b.store != self.parameters.store && !b.written.is_empty()) {
            return Err(Problem::StoreChanged.into());
        }
        let recorded = self.recorded(before.as_ref());
        let period = self.ctx.config.timings.sweep * COMPARED_IN_SWEEPS;
        let current = plan::hashes(documents);
        let verified = memory.verified.as_ref().filter(|verified| {
            (verified.generation, &verified.current) == (self.live.generation(), &current)
                && self.now.saturating_duration_since(verified.at) < period
                && !self.live.is_reconcile_requested()
        });
        let is_verified = verified.is_some();
        let hashes = match verified {
            Some(verified) => verified.recorded.clone(),
            None => {
                let status = before.as_ref().filter(|before| before.store == self.parameters.store);
                recognize::hashes(self.live, self.ask.site, status, roles, documents).await?
            }
        };
        memory.remember(roles, &hashes);
        if let Some(why) = self.ask.held {
            let half_written = record(self.live).parameters.is_some_and(|status| status.writing);
            let unwritten = roles.iter().filter(|(role, _)| half_written || recorded.get(*role) != hashes.get(*role));
            let (roles, values): (Vec<_>, Vec<_>) = unwritten.map(|(role, v)| (role.clone(), v.by_name.len())).unzip();
            let values = values.into_iter().sum();
            let problem = (!roles.is_empty()).then_some(Problem::Held { why, roles, values });
            return Ok((Synced { problem, ..self.synced(&hashes) }, true));
        }
        if is_verified && self.is_as_recorded(&recorded, &hashes) {
            return Ok((self.as_recorded(), true));
        }
        let written = before.map(|before| before.written).unwrap_or_default();
        let Store { s3, parameter_store } = &self.parameters.store;
        let outcome = match (s3, parameter_store) {
            (Some(s3), _) => self.write_documents(s3, &plan::documents(documents, &hashes), &written).await,
            (None, Some(store)) => self.write_parameters(memory, store, roles, &written).await,
            (None, None) => return Err(Problem::Unusable("spec.parameters.store is empty".into()).into()),
        };
        let written = match outcome {
            Ok(written) => written,
            // An unanswered comparison does not block what is recorded as written.
            Err(Stop::Problem(Problem::Aws(error)))
                if self.is_as_recorded(&recorded, &hashes)
                    && matches!(error.class, Class::Throttled | Class::Transient) =>
            {
                tracing::info!(%error, "the parameters were not compared with the store; retrying");
                return Ok((self.as_recorded(), false));
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
        let synced = self.synced(&hashes);
        let generation = self.live.generation();
        memory.verified = Some(Verified { generation, current, recorded: hashes, at: self.now });
        Ok((synced, true))
    }

    /// Whether the record says that these values are in the store. After an unfinished write it does not, even if the
    /// values are the earlier ones again.
    fn is_as_recorded(&self, recorded: &BTreeMap<String, String>, hashes: &BTreeMap<String, String>) -> bool {
        recorded == hashes && !record(self.live).parameters.is_some_and(|status| status.writing)
    }

    /// Returns the record after it. Obsolete documents are removed later, see [`conclude`](super::conclude).
    async fn write_documents(
        &mut self,
        s3: &S3Store,
        documents: &BTreeMap<String, &Document>,
        written: &[String],
    ) -> Result<Vec<String>, Stop> {
        // A document never changes, so no partly written state has to be recorded.
        let (guard, written) = self.about_to_write(written, documents.keys(), false).await?;
        let owner = store::bucket_owner(self.ctx, self.live, self.session, s3)?;
        let client = S3::new(self.session, owner, self.ctx.config.timings.call_deadline);
        let base = plan::base(s3, self.live.uid());
        for (name, document) in documents {
            let key = format!("{base}{name}");
            if Box::pin(store::put(&guard, &client, &s3.bucket, &key, document)).await? == Found::Replaced {
                let note = format!(
                    "s3://{}/{key} had another content than muster wrote and was written again. Workers do not use such a \
                     content. Check who may write to this prefix",
                    s3.bucket
                );
                self.ctx.event(self.live, EventType::Warning, "ParametersTampered", "Write", note).await;
            }
        }
        Ok(written)
    }

    /// Returns the record after it. Unwanted parameters are removed.
    async fn write_parameters(
        &mut self,
        memory: &mut Memory,
        store: &ParameterStore,
        roles: &RoleValues,
        written: &[String],
    ) -> Result<Vec<String>, Stop> {
        let wanted = plan::parameters(store, roles)?;
        let ssm = Ssm::new(self.session);
        // Without this, many waiting objects use up the rate of reads, and delay the reconciles of others.
        let asked = if memory.waits_to_write { Some(ssm.writer()?) } else { None };
        let names: Vec<ParameterName> = wanted.values().map(|wanted| wanted.name.clone()).collect();
        let stored = ssm.get_parameters(&names).await?;
        let left = store::left_behind(&ssm, store, self.owner, self.ask.earlier).await?;
        let mut differences = plan::compare(&wanted, &stored, written);
        differences.doubtful.retain(|name| !left.values().any(|left| left == name));
        let is_whole = written.iter().all(|below| wanted.contains_key(below));
        let rests = differences == plan::Differences::default() && is_whole && left.is_empty();
        memory.waits_to_write = !rests;
        let _writer = match asked {
            None if !rests => Some(ssm.writer()?),
            asked => asked,
        };
        memory.waits_to_write = false;
        let taken = store::not_ours(&ssm, self.owner, differences.doubtful).await?;
        if !taken.is_empty() {
            let earlier = taken.values().flatten().next().cloned();
            let names = taken.keys().map(ToString::to_string).collect();
            return Err(Problem::Taken { names, earlier }.into());
        }
        // The calls above may take long, so the permit to write and delete begins after them.
        let mut surplus: BTreeSet<_> = written.iter().filter(|below| !wanted.contains_key(*below)).cloned().collect();
        let mut unwanted: BTreeSet<_> =
            store::own_below(&ssm, store, self.owner, &surplus).await?.into_iter().collect();
        let left_over = || left.iter().filter(|(below, _)| !wanted.contains_key(*below));
        unwanted.extend(left_over().map(|(_, name)| name.clone()));
        surplus.extend(left_over().map(|(below, _)| below.clone()));
        let (guard, written) = self.about_to_write(written, wanted.keys().chain(left.keys()), !rests).await?;
        let tags = store::tags(self.owner);
        for name in left.values() {
            guard.call("ssm:AddTagsToResource", ssm.add_tags(name, &tags)).await?;
        }
        for parameter in &differences.create {
            guard.call("ssm:PutParameter", ssm.create(parameter, &tags)).await?;
        }
        for parameter in &differences.overwrite {
            guard.call("ssm:PutParameter", ssm.overwrite(parameter)).await?;
        }
        store::delete_parameters(&ssm, &guard, &Vec::from_iter(unwanted)).await?;
        Ok(plan::without(&written, &surplus))
    }

    /// Records what is about to be written, and whether existing values change.
    async fn about_to_write<'b>(
        &mut self,
        written: &'b [String],
        wanted: impl Iterator<Item = &'b String>,
        writing: bool,
    ) -> Result<(store::Guard<'a>, Vec<String>), Stop> {
        let all = plan::with(written, wanted);
        if all.len() > MAX_WRITTEN {
            return Err(Problem::Unusable(format!(
                "this object needs {} documents or parameters, and at most {MAX_WRITTEN} are allowed: use fewer, or \
                 wait until workers of old revisions are terminated",
                all.len()
            ))
            .into());
        }
        let recorded = self.record(|status| {
            status.written.clone_from(&all);
            status.writing |= writing;
        });
        let (answer, wanted) = recorded.await?;
        Ok((store::guard::<K>(self.ctx, &answer, wanted)?, all))
    }

    /// Returns the answer of the API server, and what it should have stored.
    async fn record(
        &mut self,
        change: impl FnOnce(&mut ParametersStatus),
    ) -> Result<(Acknowledgement<K::Status>, ParametersStatus), Failure> {
        let mut status = self.live.status();
        let workers: &mut WorkersStatus = status.as_mut();
        workers.aws.get_or_insert_with(|| self.session.place());
        let record = &mut workers.parameters;
        let store = self.parameters.store.clone();
        let new = || ParametersStatus { store, hashes: vec![], written: vec![], writing: false };
        let mut parameters =
            record.parameters.take().filter(|old| old.store == self.parameters.store).unwrap_or_else(new);
        change(&mut parameters);
        record.parameters_hash = parameters.hashes.iter().find(|of| of.name == MAIN).map(|of| of.hash.clone());
        record.parameters = Some(parameters.clone());
        Ok((self.live.record(&self.ctx.cluster, status).await?, parameters))
    }
}

pub(super) fn record<K: WorkerKind>(live: &Live<K>) -> ParametersRecord {
    live.status().as_ref().parameters.clone()
}
