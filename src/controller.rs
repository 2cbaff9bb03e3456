//! The controller: starts all parts in order, and stops them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::{BoxFuture, join_all};
use kube::{Client, CustomResourceExt, runtime::events::Reporter};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    access::Accounts,
    aws::{Aws, Connection},
    clock::Clock,
    config::Config,
    error_chain::Chain,
    http::{health, server::Limits},
    inventory::lookups::Lookups,
    k8s::{cluster::Cluster, release_key::ReleaseKey},
    kinds::{self, ForEachKind},
    lease::{Elector, Leadership, Lost},
    metrics::Metrics,
    reconcile::{self, Kind, Requests, context::Context},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} for health and metrics")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the task that renews the lease failed")]
    Elector(#[source] tokio::task::JoinError),
}

/// Runs until `shutdown`, then waits for the running reconciles and releases the lease.
///
/// # Errors
/// When the address for health and metrics is in use, or when the lease is lost: then the process should exit, because
/// another replica may act.
pub async fn run(
    config: Config,
    kube: Client,
    connection: Connection,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let holder: Arc<str> = format!("{}-{:08x}", config.pod_name, rand::random::<u32>()).into();
    let metrics = Arc::new(Metrics::default());
    let ready = Arc::new(AtomicBool::new(false));

    let address = config.metrics_addr;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let _health = AbortOnDropHandle::new(tokio::spawn(health::serve(
        listener,
        Limits::default(),
        metrics.clone(),
        ready.clone(),
    )));

    let cluster = Cluster {
        client: kube.clone(),
        reporter: Reporter { controller: "muster.dev/controller".into(), instance: Some(config.pod_name.clone()) },
        call_deadline: config.timings.call_deadline,
        written: Default::default(),
    };
    // Before the election, so that a replica without the key never leads.
    let key = tokio::select! {
        key = release_key(&cluster, &config) => key,
        () = shutdown.cancelled() => return Ok(()),
    };

    let released = CancellationToken::new();
    let (elector, leadership) = match &config.lease {
        None => (None, Leadership::alone()),
        Some(name) => {
            let (elector, leadership) = Elector::new(kube, name.clone(), holder.to_string(), config.timings);
            (Some(elector), leadership)
        }
    };
    let election = {
        let released = released.clone();
        async move {
            match elector {
                Some(elector) => elector.run(released.cancelled_owned()).await,
                None => {
                    released.cancelled().await;
                    Ok(())
                }
            }
        }
    };
    // A separate task, so that a slow reconcile does not delay a renewal.
    let mut election = AbortOnDropHandle::new(tokio::spawn(election));

    let ctx = Context {
        cluster,
        aws: Aws::connect(connection, &config.timings, metrics.clone()).await,
        accounts: Accounts::default(),
        references: Default::default(),
        watched: Default::default(),
        sweeps: Default::default(),
        lookups: Arc::new(Lookups::new(config.timings)),
        reporters: Default::default(),
        backoff: Default::default(),
        requests: Arc::new(Requests::new(&config.timings)),
        clock: Clock,
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        holder,
        config,
        key: Arc::new(key),
    };
    // A standby replica is ready too.
    ready.store(true, Ordering::Relaxed);
    tokio::select! {
        () = leadership.acquired() => {}
        () = shutdown.cancelled() => {}
        lost = &mut election => return ended(lost),
    }
    if !shutdown.is_cancelled() {
        metrics.set_leading(true);
        tokio::select! {
            () = run_kinds(&ctx, &shutdown) => {}
            lost = &mut election => return ended(lost),
        }
    }
    released.cancel();
    ended(election.await)
}

/// A replica is not ready until it has the key, for example while RBAC permissions are missing.
async fn release_key(cluster: &Cluster, config: &Config) -> ReleaseKey {
    let Some(place) = &config.key_secret else { return ReleaseKey::random() };
    loop {
        match ReleaseKey::load(cluster, place).await {
            Ok(key) => return key,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "nothing is reconciled without the key of the release")
            }
        }
        tokio::time::sleep(config.timings.progress).await;
    }
}

async fn run_kinds(ctx: &Context, shutdown: &CancellationToken) {
    struct Start<'a> {
        ctx: &'a Context,
        shutdown: &'a CancellationToken,
        running: Vec<BoxFuture<'static, ()>>,
    }
    impl ForEachKind for Start<'_> {
        fn kind<K: Kind + CustomResourceExt>(&mut self) {
            self.running.push(Box::pin(reconcile::run::<K>(self.ctx.clone(), self.shutdown.clone())));
        }
    }
    let mut kinds = Start { ctx, shutdown, running: Vec::new() };
    kinds::for_each(&mut kinds);
    tokio::select! {
        _ = join_all(kinds.running) => {}
        () = ctx.accounts.follow_namespaces(ctx.cluster.client.clone()) => {}
        () = ctx.watched.follow(ctx.cluster.client.clone(), &ctx.config.namespaces) => {}
    }
}

fn ended(outcome: Result<Result<(), Lost>, tokio::task::JoinError>) -> Result<(), Error> {
    outcome.map_err(Error::Elector)?.map_err(Error::Lost)
}
