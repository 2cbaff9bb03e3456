//! The controller: starts all parts in order, and stops them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use kube::{Client, CustomResourceExt, runtime::events::Reporter};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower_http::compression::CompressionLayer;

use crate::{
    access::Accounts,
    aws::{Aws, Connection},
    clock::Clock,
    config::{ApiConfig, ApiTls, Config},
    error_chain::Chain,
    http::{
        forward::Leader,
        health,
        rates::Rates,
        server::{self, Limits},
        tls::{self, Identity},
    },
    inventory::lookups::Lookups,
    k8s::{callers::Callers, cluster::Cluster, release_key::ReleaseKey},
    kinds::{
        self, ForEachKind,
        fleet_report::{self, api::Api},
    },
    lease::{Elector, Leadership, Lost},
    metrics::Metrics,
    reconcile::{self, Kind, Requests, context::Context},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} for health and metrics")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address} for the API")]
    ListenApi { address: SocketAddr, source: io::Error },
    #[error("the API needs a certificate: set --api-tls-dir to a folder with tls.crt and tls.key, or --api-insecure")]
    NoCertificate,
    #[error("the API has no certificate that it can use")]
    Certificate(#[from] tls::Error),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the task that renews the lease failed")]
    Elector(#[source] tokio::task::JoinError),
}

/// Runs until `shutdown`, then waits for the running reconciles and releases the lease.
///
/// # Errors
/// When an address is in use, when the certificate of the API cannot be used, or when the lease is lost: then the process
/// should exit, because another replica may act.
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

    let api = match &config.api {
        Some(api) => Some(listen(api).await?),
        None => None,
    };

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
            let address = api.as_ref().and_then(|api| api.address(config.api.as_ref()?.pod_ip?));
            let (elector, leadership) =
                Elector::new(kube.clone(), name.clone(), (holder.to_string(), address), config.timings);
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
        published: Default::default(),
        backoff: Default::default(),
        requests: Arc::new(Requests::new(&config.timings)),
        clock: Clock,
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        holder,
        config,
        key: Arc::new(key),
    };
    let _api = api.map(|api| AbortOnDropHandle::new(tokio::spawn(api.serve(ctx.clone(), kube))));
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

/// The API before it is served.
struct ApiServer {
    listener: TcpListener,
    identity: Option<Identity>,
}

async fn listen(api: &ApiConfig) -> Result<ApiServer, Error> {
    let identity = match &api.tls {
        ApiTls::From(dir) => Some(Identity::load(dir.clone())?),
        ApiTls::Insecure => None,
        ApiTls::Missing => return Err(Error::NoCertificate),
    };
    let listener = TcpListener::bind(api.addr).await;
    let listener = listener.map_err(|source| Error::ListenApi { address: api.addr, source })?;
    Ok(ApiServer { listener, identity })
}

/// A large answer to a slow client takes longer than a probe.
const API_LIMITS: Limits = Limits { connections: 256, head: Duration::from_secs(10), request: Duration::from_mins(5) };

impl ApiServer {
    fn address(&self, ip: IpAddr) -> Option<String> {
        let port = self.listener.local_addr().ok()?.port();
        Some(SocketAddr::new(ip, port).to_string())
    }

    async fn serve(self, ctx: Context, kube: Client) {
        let Self { listener, identity } = self;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, tls = identity.is_some(), "serving the API");
        }
        let api = Api {
            published: ctx.published.clone(),
            callers: Arc::new(Callers::new(ctx.cluster.clone())),
            references: ctx.references.clone(),
        };
        let leader = Leader::new(ctx.leadership.clone(), ctx.config.lease.clone(), kube, identity.clone());
        // The leader limits, checks and compresses; the others send on what they get.
        let routes = Rates::default().limit(fleet_report::api::routes(api)).layer(CompressionLayer::new().gzip(true));
        let serving = server::serve(listener, leader.serve(routes), API_LIMITS, identity.clone());
        let follow = async {
            match &identity {
                Some(identity) => identity.follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(serving, follow);
    }
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
