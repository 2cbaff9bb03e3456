//! Every call of a controller passes through here: it is counted, and can be made the last thing the controller does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use http::Request;
use jiff::SignedDuration;
use kube::{Client, client::Body};
use tokio::sync::watch;

use self::names::{aws_operation, kube_operation, watched};
pub(crate) use self::wire::End;

mod names;
mod wire;

/// One call, by what it is and how often the same came before it. A bare number would not repeat from run to run. Looks at AWS
/// of one sort with nothing done in between are the same point: how many of these there are is up to the clock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) operation: String,
    pub(crate) ordinal: u32,
}

impl Point {
    /// Whether the call only asks.
    pub(crate) fn is_read(&self) -> bool {
        ["Describe", "List", "Get", "GET "].iter().any(|verb| self.operation.starts_with(verb))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.operation, self.ordinal)
    }
}

/// When, seen from a call, the controller stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nobody got the call.
    Before,
    /// It was carried out, and its answer reached nobody.
    After,
}

/// A tap on both of a controller's connections. Clones are the same tap.
#[derive(Clone)]
pub(crate) struct Tap {
    state: Arc<Mutex<State>>,
    /// What happens before a look that follows on looks which found nothing to do.
    at_rest: Option<Arc<dyn Fn() + Send + Sync>>,
    stopped: watch::Sender<bool>,
    called: watch::Sender<()>,
    paused: watch::Sender<bool>,
    /// Whether a paused controller was let go on.
    resumed: watch::Sender<bool>,
    /// Whether changes of fleets are kept from the controller.
    stale: watch::Sender<bool>,
    /// The resources that it watches, having listed them.
    watched: watch::Sender<BTreeSet<String>>,
    wire: wire::Wire,
}

/// What a controller at rest calls, and what it calls once in a while to prove its accounts anew.
pub(crate) const LOOK: &str = "DescribeInstances";
const PROOF: &str = "GetCallerIdentity";
/// And whether an image is still what it was.
const IMAGE: &str = "DescribeImages";
/// What it calls beside its looks while it waits for something to be written to a bucket.
pub(crate) const LISTING: &str = "GET bucket";
/// What a controller at rest calls once in a while, which is up to the clock.
pub(crate) const SELDOM: &[&str] = &[PROOF, IMAGE];

/// So many whole looks that found nothing to do make a rest. After one, there may still be things to ask for by id.
const LOOKS_OF_A_REST: u32 = 2;

#[derive(Debug, Default)]
struct State {
    /// The sorts of looks since something was done.
    looks: BTreeSet<String>,
    /// How many of them were at all machines.
    sweeps: u32,
    counts: BTreeMap<String, u32>,
    points: Vec<Point>,
    stop: Option<(Point, Moment)>,
    /// The controller goes on after its stop, once it is resumed.
    pauses: bool,
}

impl State {
    fn is_at_rest(&self) -> bool {
        self.sweeps >= LOOKS_OF_A_REST
    }

    fn name(&mut self, operation: String) -> Point {
        let is_look = operation.starts_with("Describe") || operation == LISTING;
        let repeats = if operation == IMAGE {
            self.counts.contains_key(IMAGE)
        } else if is_look {
            self.sweeps += u32::from(operation == LOOK);
            !self.looks.insert(operation.clone())
        } else {
            // Proofs come when they like, and what becomes of an account beside what becomes of a fleet.
            if operation != PROOF && !operation.contains("awsaccounts") {
                self.looks.clear();
                self.sweeps = 0;
            }
            operation == PROOF && self.counts.contains_key(PROOF)
        };
        let ordinal = self.counts.entry(operation.clone()).or_default();
        *ordinal += u32::from(!repeats);
        Point { ordinal: *ordinal, operation }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("state", &self.state).finish_non_exhaustive()
    }
}

enum Gate {
    Open,
    LastCall,
    Shut,
    /// The point at which the controller pauses.
    Pause(Moment),
}

impl Tap {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            at_rest: None,
            stopped: watch::Sender::new(false),
            called: watch::Sender::new(()),
            paused: watch::Sender::new(false),
            resumed: watch::Sender::new(false),
            stale: watch::Sender::new(false),
            watched: watch::Sender::default(),
            wire: wire::Wire::default(),
        }
    }

    /// A tap that lets nothing through any more from `point` on.
    pub(crate) fn stopping(point: Point, moment: Moment) -> Self {
        let tap = Self::new();
        tap.state.lock().unwrap().stop = Some((point, moment));
        tap
    }

    /// A tap that holds the controller at `point` until it is resumed.
    pub(crate) fn pausing(point: Point, moment: Moment) -> Self {
        let tap = Self::stopping(point, moment);
        tap.state.lock().unwrap().pauses = true;
        tap
    }

    /// The same tap, which calls `happens` each time before the controller looks again though it has found nothing to do.
    /// No look is under way then, so what a look sees does not depend on when it happens.
    pub(crate) fn with_rest(self, happens: impl Fn() + Send + Sync + 'static) -> Self {
        Self { at_rest: Some(Arc::new(happens)), ..self }
    }

    /// Forgets the calls so far, and with `stop` lets nothing through any more from that point on.
    pub(crate) fn begin(&self, stop: Option<(Point, Moment)>) {
        *self.state.lock().unwrap() = State { stop, ..State::default() };
    }

    /// Forgets the calls so far, and holds the controller at `point` until it is resumed.
    pub(crate) fn pause_at(&self, point: Point, moment: Moment) {
        *self.state.lock().unwrap() = State { stop: Some((point, moment)), pauses: true, ..State::default() };
    }

    pub(crate) fn resume(&self) {
        self.resumed.send_replace(true);
    }

    /// Keeps changes of fleets from the controller, which goes on with what it has seen, or brings them again.
    pub(crate) fn set_stale(&self, stale: bool) {
        self.stale.send_replace(stale);
    }

    /// Ends all watches that are open.
    pub(crate) fn end_watches(&self, end: End) {
        self.wire.end_watches(end);
    }

    /// Watches of `resource` cannot go on from a version before `version` any more.
    pub(crate) fn forget_before(&self, resource: &'static str, version: u64) {
        self.wire.forget_before(resource, version);
    }

    /// The API server does not know this field of statuses, as with an older CRD: `launches` or `launches/role`.
    pub(crate) fn prune(&self, path: Option<&'static str>) {
        self.wire.prune(path);
    }

    /// The same tap, behind which the clock is ahead of everybody else's: what is written is dated so, and what is read
    /// comes from so long ago.
    pub(crate) fn with_clock_ahead(self, by: SignedDuration) -> Self {
        self.wire.set_ahead(by);
        self
    }

    /// Every call so far, in order.
    pub(crate) fn points(&self) -> Vec<Point> {
        self.state.lock().unwrap().points.clone()
    }

    /// Returns once the calls so far are as `enough` says.
    pub(crate) async fn until(&self, enough: impl Fn(&[Point]) -> bool) {
        let mut called = self.called.subscribe();
        while !enough(&self.points()) {
            let waited = tokio::time::timeout(crate::scene::PATIENCE, called.changed()).await;
            waited.expect("further calls").expect("the tap is there");
        }
    }

    /// Returns once the point was hit.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    fn enter(&self, operation: Option<String>) -> Gate {
        if *self.stopped.borrow() {
            return Gate::Shut;
        }
        let Some(operation) = operation else { return Gate::Open };
        let mut state = self.state.lock().unwrap();
        if let Some(happens) = self.at_rest.as_ref().filter(|_| operation == LOOK && state.is_at_rest()) {
            happens();
        }
        let point = state.name(operation);
        state.points.push(point.clone());
        self.called.send_replace(());
        if state.pauses {
            // Once: of calls that come when they like, each is the same point.
            let stop = state.stop.take_if(|(stop, _)| *stop == point);
            return stop.map_or(Gate::Open, |(_, moment)| Gate::Pause(moment));
        }
        match &state.stop {
            Some((stop, Moment::Before)) if *stop == point => {
                self.stopped.send_replace(true);
                Gate::Shut
            }
            Some((stop, Moment::After)) if *stop == point => Gate::LastCall,
            Some(_) | None => Gate::Open,
        }
    }

    async fn pass<T>(&self, operation: Option<String>, call: impl Future<Output = T>) -> T {
        match self.enter(operation) {
            Gate::Open => {
                let answer = call.await;
                // An answer that comes after the end reaches nobody either.
                if *self.stopped.borrow() { std::future::pending().await } else { answer }
            }
            Gate::LastCall => {
                let _unread = call.await;
                self.stopped.send_replace(true);
                std::future::pending().await
            }
            Gate::Shut => std::future::pending().await,
            Gate::Pause(Moment::Before) => {
                self.pause().await;
                call.await
            }
            Gate::Pause(Moment::After) => {
                let answer = call.await;
                self.pause().await;
                answer
            }
        }
    }

    /// A paused controller's other calls go on, as those of a process do whose one task is stuck.
    async fn pause(&self) {
        self.paused.send_replace(true);
        let mut resumed = self.resumed.subscribe();
        let _ = resumed.wait_for(|resumed| *resumed).await;
    }

    /// Returns once the controller pauses.
    pub(crate) async fn paused(&self) {
        let mut paused = self.paused.subscribe();
        let pause = paused.wait_for(|paused| *paused);
        if tokio::time::timeout(crate::scene::PATIENCE / 3, pause).await.is_err() {
            panic!("it never came to the pause: {:?}", self.points());
        }
    }

    /// Returns once the controller has listed all of `resource`, and hears of changes from then on.
    pub(crate) async fn watches(&self, resource: &str) {
        let mut watched = self.watched.subscribe();
        let watches = watched.wait_for(|watched| watched.contains(resource));
        let waited = tokio::time::timeout(crate::scene::PATIENCE, watches).await;
        drop(waited.expect("a watch").expect("the tap is there"));
    }

    /// `client` behind this tap.
    pub(crate) fn kube(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let tap = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (tap, client) = (tap.clone(), client.clone());
            async move {
                let watches = watched(&request).is_some();
                if let Some(resource) = watched(&request) {
                    tap.watched.send_if_modified(|all| all.insert(resource.to_owned()));
                    if resource == "workerfleets" {
                        let _ = tap.stale.subscribe().wait_for(|stale| !*stale).await;
                    }
                    if let Some(refusal) = tap.wire.refuse(&request, resource) {
                        return Ok(refusal);
                    }
                }
                let request = tap.wire.sent(request).await;
                let answer = tap.pass(kube_operation(&request), client.send(request)).await?;
                Ok::<_, kube::Error>(tap.wire.received(answer, watches))
            }
        });
        Client::new(service, namespace)
    }

    /// An HTTP client for the SDKs behind this tap. The sandbox speaks plain HTTP.
    pub(crate) fn aws(&self) -> SharedHttpClient {
        let inner = aws_smithy_http_client::Builder::new().build_http();
        TappedClient { inner, tap: self.clone() }.into_shared()
    }
}

#[derive(Debug)]
struct TappedClient {
    inner: SharedHttpClient,
    tap: Tap,
}

impl HttpClient for TappedClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(TappedConnector { inner, tap: self.tap.clone() })
    }
}

#[derive(Debug)]
struct TappedConnector {
    inner: SharedHttpConnector,
    tap: Tap,
}

impl HttpConnector for TappedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, tap) = (self.inner.clone(), self.tap.clone());
        let operation = aws_operation(&request);
        HttpConnectorFuture::new(async move {
            let answer = tap.pass(Some(operation), async { inner.call(request).await }).await?;
            tap.wire.received_from_aws(answer).await
        })
    }
}
