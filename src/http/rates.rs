//! How often each caller may ask. A caller is known by what it shows. An address from which others were refused too often
//! waits, but for the callers there that were not refused.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::HashMapStateStore,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{clock::Clock, http::server::Peer};

type Shown = [u8; 32];
type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// How many callers are remembered before those that are silent are forgotten.
const MANY: usize = 4096;
/// For how long a caller that was not refused is remembered.
const WELCOME: Duration = Duration::from_hours(1);

/// The rates of all callers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rates(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    callers: Limiter<Shown>,
    refusals: Limiter<IpAddr>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each was last answered.
    welcome: HashMap<Shown, Instant>,
    /// Until when an address waits.
    waits: HashMap<IpAddr, Instant>,
}

impl Default for Rates {
    fn default() -> Self {
        // A page or a script asks a few times a second; who is refused costs a question to the API server.
        Self::new(20, 40, 10)
    }
}

impl Rates {
    /// `a_second` requests of a caller with at most `at_once`, and `refusals` at once of an address, then one of them a
    /// second.
    pub fn new(a_second: u32, at_once: u32, refusals: u32) -> Self {
        let some = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let callers = Quota::per_second(some(a_second)).allow_burst(some(at_once));
        let refused = Quota::per_second(NonZeroU32::MIN).allow_burst(some(refusals));
        let (callers, refusals) = (RateLimiter::hashmap(callers), RateLimiter::hashmap(refused));
        Self(Arc::new(Limits { callers, refusals, known: Mutex::default() }))
    }

    pub fn limit(self, app: Router) -> Router {
        app.layer(middleware::from_fn_with_state(self, limited))
    }
}

impl Limits {
    /// How long this caller waits.
    fn wait(&self, shown: Shown, address: IpAddr, now: Instant) -> Option<Duration> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.welcome.contains_key(&shown)
                && let Some(until) = known.waits.get(&address).filter(|until| **until > now)
            {
                return Some(*until - now);
            }
        }
        if self.callers.len() > MANY {
            self.callers.retain_recent();
        }
        let until = self.callers.check_key(&shown).err()?;
        Some(until.wait_time_from(DefaultClock::default().now()))
    }

    fn answered(&self, shown: Shown, address: IpAddr, status: StatusCode, now: Instant) {
        let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let wait = is_refused.then(|| self.refusals.check_key(&address).err()).flatten();
        if self.refusals.len() > MANY {
            self.refusals.retain_recent();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { welcome, waits } = &mut *known;
        if welcome.len() + waits.len() > MANY {
            welcome.retain(|_, at| now.saturating_duration_since(*at) < WELCOME);
            waits.retain(|_, until| *until > now);
        }
        if let Some(until) = wait {
            waits.insert(address, now + until.wait_time_from(DefaultClock::default().now()));
        }
        if is_refused {
            welcome.remove(&shown);
        } else if status.is_success() && welcome.len() <= MANY {
            welcome.insert(shown, now);
        }
    }
}

async fn limited(State(Rates(limits)): State<Rates>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<Peer>().map_or(IpAddr::from([0; 4]), |peer| peer.0);
    let shown = shown(request.headers(), address);
    if let Some(wait) = limits.wait(shown, address, Clock.monotonic()) {
        let problem = json!({"error": "too many requests; see Retry-After"});
        let seconds = (wait.as_secs() + 1).to_string();
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds)], Json(problem)).into_response();
    }
    let response = next.run(request).await;
    limits.answered(shown, address, response.status(), Clock.monotonic());
    response
}

/// What a caller shows, or else where it is, hashed.
fn shown(headers: &HeaderMap, address: IpAddr) -> Shown {
    match headers.get("x-api-key").or_else(|| headers.get(header::AUTHORIZATION)) {
        Some(value) => Sha256::digest(value.as_bytes()).into(),
        None => Sha256::digest(address.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, body::Body, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(app: &Router, address: u8, key: &str) -> StatusCode {
        let app = app.clone().layer(Extension(Peer(IpAddr::from([10, 0, 0, address]))));
        let request = Request::get("/").header("x-api-key", key).body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap().status()
    }

    fn app(rates: Rates) -> Router {
        let answer = async |headers: HeaderMap| {
            if headers["x-api-key"] == "wrong" { StatusCode::FORBIDDEN } else { StatusCode::OK }
        };
        rates.limit(Router::new().route("/", get(answer)))
    }

    #[tokio::test]
    async fn each_caller_has_a_rate_of_its_own() {
        let app = app(Rates::new(1, 3, 10));
        for _ in 0..3 {
            assert_eq!(ask(&app, 1, "one").await, StatusCode::OK);
        }
        assert_eq!(ask(&app, 1, "one").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(ask(&app, 2, "one").await, StatusCode::TOO_MANY_REQUESTS, "wherever it is");
        assert_eq!(ask(&app, 1, "another").await, StatusCode::OK);
    }

    #[tokio::test]
    async fn who_guesses_keys_waits_and_others_from_there_do_not() {
        let app = app(Rates::new(100, 100, 3));
        assert_eq!(ask(&app, 1, "right").await, StatusCode::OK);
        let mut refused = 0;
        while ask(&app, 1, "wrong").await == StatusCode::FORBIDDEN {
            refused += 1;
        }
        assert!((3..=5).contains(&refused), "{refused}");
        assert_eq!(ask(&app, 1, "unknown").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(ask(&app, 1, "right").await, StatusCode::OK, "it was answered before");
        assert_eq!(ask(&app, 2, "unknown").await, StatusCode::OK, "from elsewhere");
    }
}
