//! Every call of a controller passes through a tap, which counts calls and can stop or pause the controller at one.

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

/// One call, identified by its operation and the number of earlier calls of that operation. A plain sequence number would
/// differ between runs. Repeated reads from AWS with no write in between are the same point, because the clock determines
/// how many there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) operation: String,
    pub(crate) ordinal: u32,
}

impl Point {
    /// Whether the call only reads.
    pub(crate) fn is_read(&self) -> bool {
        ["Describe", "List", "Get", "GET "].iter().any(|verb| self.operation.starts_with(verb))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.operation, self.ordinal)
    }
}

/// When the controller stops, relative to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The call did not arrive.
    Before,
    /// The call was carried out, and its response did not arrive.
    After,
}

/// A tap on both connections of a controller. Clones share their state.
#[derive(Clone)]
pub(crate) struct Tap {
    state: Arc<Mutex<State>>,
    /// Called before a sweep that follows sweeps which found nothing to do.
    at_rest: Option<Arc<dyn Fn() + Send + Sync>>,
    stopped: watch::Sender<bool>,
    called: watch::Sender<()>,
    paused: watch::Sender<bool>,
    /// Whether a paused controller was resumed.
    resumed: watch::Sender<bool>,
    /// Whether watch events of fleets are withheld from the controller.
    stale: watch::Sender<bool>,
    /// How many watches of fleets were withheld.
    withheld: watch::Sender<usize>,
    /// The resources that it has listed and watches.
    watched: watch::Sender<BTreeSet<String>>,
    wire: wire::Wire,
}

/// The call of a sweep, and the periodic call that verifies the identity of an account.
pub(crate) const DESCRIBE: &str = "DescribeInstances";
/// The call of a sweep of Auto Scaling groups.
pub(crate) const GROUPS: &str = "DescribeAutoScalingGroups";
const PROOF: &str = "GetCallerIdentity";
/// The periodic call that verifies an image.
const IMAGE: &str = "DescribeImages";
/// An additional call of a controller that waits for an object in a bucket.
pub(crate) const LISTING: &str = "GET bucket";
/// Rare periodic calls of a controller at rest, at times that depend on the clock.
pub(crate) const SELDOM: &[&str] = &[PROOF, IMAGE];

/// The controller is at rest after this number of complete sweeps without a write. After one, it may still describe
/// instances by ID.
const SWEEPS_AT_REST: u32 = 2;

#[derive(Debug, Default)]
struct State {
    /// The call of a sweep, if it is not [`DESCRIBE`].
    sweep: Option<&'static str>,
    /// The read operations since the last write.
    reads: BTreeSet<String>,
    /// How many of them described all instances.
    sweeps: u32,
    counts: BTreeMap<String, u32>,
    points: Vec<Point>,
    stop: Option<(Point, Moment)>,
    /// Whether the controller continues after its stop when it is resumed.
    pauses: bool,
}

impl State {
    fn is_sweep(&self, operation: &str) -> bool {
        operation == self.sweep.unwrap_or(DESCRIBE)
    }

    fn is_at_rest(&self) -> bool {
        self.sweeps >= SWEEPS_AT_REST
    }

    fn name(&mut self, operation: String) -> Point {
        let is_read = operation.starts_with("Describe") || operation == LISTING;
        let repeats = if operation == IMAGE {
            self.counts.contains_key(IMAGE)
        } else if is_read {
            self.sweeps += u32::from(self.is_sweep(&operation));
            !self.reads.insert(operation.clone())
        } else {
            // Verifications occur at any time, and accounts are reconciled in parallel with fleets.
            if operation != PROOF && !operation.contains("awsaccounts") {
                self.reads.clear();
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
            withheld: watch::Sender::new(0),
            watched: watch::Sender::default(),
            wire: wire::Wire::default(),
        }
    }

    /// A tap that lets no call through from `point` on.
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

    /// The same tap, which calls `happens` each time before the controller sweeps again without anything to do. No sweep is
    /// in progress then, so the result of a sweep does not depend on the time of the call.
    pub(crate) fn with_rest(self, happens: impl Fn() + Send + Sync + 'static) -> Self {
        Self { at_rest: Some(Arc::new(happens)), ..self }
    }

    /// Forgets the calls so far, and with `stop` lets no call through from that point on.
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

    /// Withholds watch events of fleets from the controller, or delivers them again.
    pub(crate) fn set_stale(&self, stale: bool) {
        self.stale.send_replace(stale);
    }

    /// Ends all watches that are open, and withholds what happens to fleets from then on: the next watch of fleets waits,
    /// after the list that may precede it.
    pub(crate) async fn interrupt_watches(&self, end: End) {
        self.set_stale(true);
        let before = *self.withheld.borrow();
        self.wire.end_watches(end);
        let mut withheld = self.withheld.subscribe();
        let next =
            tokio::time::timeout(crate::support::scene::PATIENCE, withheld.wait_for(|count| *count > before)).await;
        drop(next.expect("another watch").expect("the tap is there"));
    }

    /// From now on, watches of `resource` cannot continue from a version before `version`.
    pub(crate) fn forget_before(&self, resource: &'static str, version: u64) {
        self.wire.forget_before(resource, version);
    }

    /// The API server prunes this field of statuses, as with an older CRD: `launches` or `launches/role`.
    pub(crate) fn prune(&self, path: Option<&'static str>) {
        self.wire.prune(path);
    }

    /// The same tap with a clock that is ahead: times that the controller writes and reads are shifted accordingly.
    pub(crate) fn with_clock_ahead(self, by: SignedDuration) -> Self {
        self.wire.set_ahead(by);
        self
    }

    /// Every call so far, in order.
    pub(crate) fn points(&self) -> Vec<Point> {
        self.state.lock().unwrap().points.clone()
    }

    /// The controller is at rest when it makes only this call and other reads.
    pub(crate) fn sweeping(self, operation: &'static str) -> Self {
        self.state.lock().unwrap().sweep = Some(operation);
        self
    }

    /// Waits until the calls so far meet `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&[Point]) -> bool) {
        let mut called = self.called.subscribe();
        while !enough(&self.points()) {
            let waited = tokio::time::timeout(crate::support::scene::PATIENCE, called.changed()).await;
            waited.expect("further calls").expect("the tap is there");
        }
    }

    /// Waits until the controller stops.
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
        if let Some(happens) = self.at_rest.as_ref().filter(|_| state.is_sweep(&operation) && state.is_at_rest()) {
            happens();
        }
        let point = state.name(operation);
        state.points.push(point.clone());
        self.called.send_replace(());
        if state.pauses {
            // Only once, because calls that occur at any time are all the same point.
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
                // A response that arrives after the stop is not delivered either.
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

    /// Other calls of a paused controller continue, as in a process with one stuck task.
    async fn pause(&self) {
        self.paused.send_replace(true);
        let mut resumed = self.resumed.subscribe();
        let _ = resumed.wait_for(|resumed| *resumed).await;
    }

    /// Waits until the controller pauses.
    pub(crate) async fn paused(&self) {
        let mut paused = self.paused.subscribe();
        let pause = paused.wait_for(|paused| *paused);
        if tokio::time::timeout(crate::support::scene::PATIENCE / 3, pause).await.is_err() {
            panic!("the controller did not pause: {:?}", self.points());
        }
    }

    /// Waits until the controller has listed `resource` and watches it.
    pub(crate) async fn watches(&self, resource: &str) {
        let mut watched = self.watched.subscribe();
        let watches = watched.wait_for(|watched| watched.contains(resource));
        let waited = tokio::time::timeout(crate::support::scene::PATIENCE, watches).await;
        drop(waited.expect("a watch").expect("the tap is there"));
    }

    /// Wraps `client` with this tap.
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
                        tap.withheld.send_modify(|count| *count += usize::from(*tap.stale.borrow()));
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

    /// An HTTP client with this tap for the SDKs. The sandbox uses plain HTTP.
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
