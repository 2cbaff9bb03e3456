//! The controller: what is started, in which order, and how it ends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kube::{Client, runtime::events::Reporter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    aws::{Aws, Connection},
    aws_account::{Accounts, AwsAccount},
    clock::Clock,
    config::Config,
    context::Context,
    fleet_report::FleetReport,
    health,
    lease::{Elector, Leadership, Lost},
    metrics::Metrics,
    reconcile,
    worker_fleet::WorkerFleet,
    worker_job::WorkerJob,
    workers::resolve::Resolver,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} for health and metrics")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the task that holds the lease ended")]
    Elector(#[source] tokio::task::JoinError),
}

/// Runs until `shutdown`; then lets the reconciles under way end and gives up the lease.
///
/// # Errors
/// When the address for health and metrics is taken, or when the lease is lost: the process should end then, since
/// another replica acts from now on.
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
    let _health = DropGuarded(tokio::spawn(health::serve(listener, metrics.clone(), ready.clone())));

    let released = CancellationToken::new();
    let (elector, leadership) = match &config.lease {
        None => (None, Leadership::alone()),
        Some(name) => {
            let (elector, leadership) = Elector::new(kube.clone(), name.clone(), holder.to_string(), config.timings);
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
    // A task of its own, so that no slow reconcile delays a renewal.
    let mut election = DropGuarded(tokio::spawn(election));

    let ctx = Context {
        reporter: Reporter { controller: "muster.dev/controller".into(), instance: Some(config.pod_name.clone()) },
        aws: Aws::connect(connection, &config.timings, metrics.clone()).await,
        kube,
        accounts: Accounts::default(),
        references: Default::default(),
        reports: Default::default(),
        sweeps: Default::default(),
        parameters: Default::default(),
        watched: Default::default(),
        reporting: Default::default(),
        workers: Default::default(),
        resolver: Arc::new(Resolver::new(config.timings)),
        worker_jobs: Default::default(),
        backoff: Default::default(),
        written: Default::default(),
        clock: Clock,
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        holder,
        config,
    };
    // A standby is ready: it is there to take over.
    ready.store(true, Ordering::Relaxed);
    tokio::select! {
        () = leadership.acquired() => {}
        () = shutdown.cancelled() => {}
        lost = &mut election.0 => return ended(lost),
    }
    if !shutdown.is_cancelled() {
        metrics.set_leading(true);
        tokio::select! {
            () = run_kinds(&ctx, &shutdown) => {}
            lost = &mut election.0 => return ended(lost),
        }
    }
    released.cancel();
    ended((&mut election.0).await)
}

async fn run_kinds(ctx: &Context, shutdown: &CancellationToken) {
    let kinds = async {
        tokio::join!(
            reconcile::run::<AwsAccount>(ctx.clone(), ctx.config.account_selector.clone(), shutdown.clone()),
            reconcile::run::<FleetReport>(ctx.clone(), None, shutdown.clone()),
            reconcile::run::<WorkerFleet>(ctx.clone(), None, shutdown.clone()),
            reconcile::run::<WorkerJob>(ctx.clone(), None, shutdown.clone()),
        );
    };
    tokio::select! {
        () = kinds => {}
        () = ctx.accounts.follow_namespaces(ctx.kube.clone()) => {}
        () = ctx.watched.follow(ctx.kube.clone(), &ctx.config.namespaces) => {}
    }
}

fn ended(outcome: Result<Result<(), Lost>, tokio::task::JoinError>) -> Result<(), Error> {
    outcome.map_err(Error::Elector)?.map_err(Error::Lost)
}

/// A task that ends with what started it.
struct DropGuarded<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for DropGuarded<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
