//! Answers of AWS, cached and shared by all objects that ask the same with the same identity in one region. So the
//! number of calls at rest depends on the number of different questions, not on the number of objects.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

pub use crate::aws::ec2::SubnetQuery;
use crate::{
    aws::{
        Class, Error, LONGEST_WAIT, Session, SessionIdentity,
        ec2::{Ec2, ImageRow, ImageState, NewestImages, SubnetRow, TemplateRow},
        ssm::Ssm,
    },
    clock::{Clock, Timings},
    crd::template::{AmiSelector, LaunchTemplate},
    ids::{ImageId, ParameterName, SecurityGroupId, VpcId},
    single_flight::{Attempt, SingleFlight},
};

/// For how many sweep periods an image is assumed to exist, unless a launch shows otherwise.
const IMAGE_PERIODS: u32 = 60;

/// The maximum number of answers of one kind that are kept for one identity and region. Users write the questions.
const KEPT: usize = 10_000;

/// The cached answers of all identities.
#[derive(Debug)]
pub struct Lookups {
    timings: Timings,
    regions: Mutex<HashMap<SessionIdentity, Arc<RegionCache>>>,
}

#[derive(Debug, Default)]
struct RegionCache {
    images: Table<ImageId, ImageRow>,
    selected: Table<(AmiSelector, Duration), NewestImages>,
    parameters: Table<(ParameterName, bool), String>,
    templates: Table<LaunchTemplate, TemplateRow>,
    subnets: Table<SubnetQuery, Arc<[SubnetRow]>>,
    groups: Table<(VpcId, BTreeMap<String, String>), Vec<SecurityGroupId>>,
}

impl Lookups {
    pub fn new(timings: Timings) -> Self {
        Self { timings, regions: Mutex::default() }
    }

    /// Forgets an image after a launch showed that its cached state is wrong.
    pub fn doubt(&self, session: &Session, image: &ImageId) {
        self.cache(session).images.forget(image);
    }

    /// For the questions of one reconcile. Answers from before `not_before` are not used.
    pub fn inquire<'a>(&'a self, session: &Session, not_before: Option<Instant>) -> Inquiry<'a> {
        Inquiry { session: session.shared(), cache: self.cache(session), timings: &self.timings, not_before }
    }

    fn cache(&self, session: &Session) -> Arc<RegionCache> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.entry(session.identity()).or_default().clone()
    }
}

/// Asks on behalf of one reconcile.
#[derive(Debug)]
pub struct Inquiry<'a> {
    session: Session,
    cache: Arc<RegionCache>,
    timings: &'a Timings,
    not_before: Option<Instant>,
}

impl Inquiry<'_> {
    pub async fn image(&self, id: &ImageId) -> Result<ImageRow, Error> {
        let sweep = self.timings.sweep;
        let age = |row: &ImageRow| match row.state {
            ImageState::Available => sweep.saturating_mul(IMAGE_PERIODS),
            ImageState::Pending | ImageState::Unusable(_) => sweep,
        };
        let ask = async || describe(&self.session, "ec2:DescribeImages").await?.image(id).await;
        self.cache.images.ask(id, (self.timings, self.not_before), age, ask).await
    }

    /// The newest images that match `selector`; those younger than `min_age` are told apart.
    pub async fn newest_images(&self, selector: &AmiSelector, min_age: Duration) -> Result<NewestImages, Error> {
        let ask = async || {
            let ec2 = describe(&self.session, "ec2:DescribeImages").await?;
            // Without an age, the clocks of AWS and of this process do not matter.
            let old_enough = match min_age {
                Duration::ZERO => Timestamp::MAX,
                age => Clock.now().checked_sub(age).unwrap_or_default(),
            };
            ec2.newest_images(selector, old_enough, &self.session.account).await
        };
        self.cache
            .selected
            .ask(&(selector.clone(), min_age), (self.timings, self.not_before), |_| self.timings.sweep, ask)
            .await
    }

    /// The value of a parameter, `decrypted` or as it is stored. It may be a secret, so never show it.
    pub async fn parameter(&self, name: &ParameterName, decrypted: bool) -> Result<String, Error> {
        let ask = async || Ok(Ssm::new(&self.session).get_parameter(name, decrypted).await?.expose().to_owned());
        self.cache
            .parameters
            .ask(&(name.clone(), decrypted), (self.timings, self.not_before), |_| self.timings.sweep, ask)
            .await
    }

    pub async fn launch_template(&self, wanted: &LaunchTemplate) -> Result<TemplateRow, Error> {
        let wanted = LaunchTemplate { on_change: None, ..wanted.clone() };
        let ask = async || {
            describe(&self.session, "ec2:DescribeLaunchTemplateVersions").await?.launch_template(&wanted).await
        };
        self.cache.templates.ask(&wanted, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }

    pub async fn subnets(&self, query: SubnetQuery) -> Result<Arc<[SubnetRow]>, Error> {
        let sweep = self.timings.sweep;
        // A subnet never moves.
        let age = match &query {
            SubnetQuery::Ids(_) => sweep.saturating_mul(IMAGE_PERIODS),
            SubnetQuery::Tags(_) | SubnetQuery::Default => sweep,
        };
        let ask = async || Ok(describe(&self.session, "ec2:DescribeSubnets").await?.subnets(&query).await?.into());
        self.cache.subnets.ask(&query, (self.timings, self.not_before), |_| age, ask).await
    }

    pub async fn security_groups(
        &self,
        vpc: &VpcId,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<SecurityGroupId>, Error> {
        let ask = async || {
            describe(&self.session, "ec2:DescribeSecurityGroups").await?.security_groups_by_tags(vpc, tags).await
        };
        let key = (vpc.clone(), tags.clone());
        self.cache.groups.ask(&key, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }
}

/// EC2, once the rate limit allows a call.
async fn describe(session: &Session, operation: &'static str) -> Result<Ec2, Error> {
    let _permit = session.turn(operation, 1, Clock.monotonic() + LONGEST_WAIT).await?;
    Ok(Ec2::new(session))
}

/// The answers to one kind of question.
#[derive(Debug)]
struct Table<Q, A>(Mutex<HashMap<Q, Slot<A>>>);

#[derive(Debug)]
struct Slot<A> {
    asked: Instant,
    answer: Arc<SingleFlight<Result<A, Error>>>,
}

impl<Q, A> Default for Table<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Table<Q, A> {
    /// The last answer to `question` if it is younger than `age` and not older than `not_before`, otherwise a new one.
    async fn ask(
        &self,
        question: &Q,
        (timings, not_before): (&Timings, Option<Instant>),
        age: impl Fn(&A) -> Duration,
        ask: impl AsyncFnOnce() -> Result<A, Error>,
    ) -> Result<A, Error> {
        let arrived = Clock.monotonic();
        let serves = |last: &Attempt<Result<A, Error>>| {
            arrived.saturating_duration_since(last.ended) < lifetime(&last.outcome, timings, &age)
                && not_before.is_none_or(|time| last.begun >= time)
        };
        self.slot(question, arrived, timings).get(serves, async |_, _| ask().await).await
    }

    fn slot(&self, question: &Q, now: Instant, timings: &Timings) -> Arc<SingleFlight<Result<A, Error>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(question) {
            // Unused answers are dropped when a new question arrives.
            let long = timings.sweep.saturating_mul(IMAGE_PERIODS);
            slots.retain(|_, slot| now.saturating_duration_since(slot.asked) < long);
            if slots.len() >= KEPT
                && let Some(oldest) = slots.iter().min_by_key(|(_, slot)| slot.asked).map(|(q, _)| q.clone())
            {
                slots.remove(&oldest);
            }
        }
        let slot = slots.entry(question.clone()).or_insert_with(|| Slot { asked: now, answer: Arc::default() });
        slot.asked = now;
        slot.answer.clone()
    }

    fn forget(&self, question: &Q) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(question);
    }
}

fn lifetime<A>(outcome: &Result<A, Error>, timings: &Timings, age: impl Fn(&A) -> Duration) -> Duration {
    match outcome {
        Ok(answer) => age(answer),
        Err(error) => match error.class {
            Class::Throttled | Class::Transient => timings.progress,
            Class::Denied | Class::NotFound | Class::InvalidInput | Class::NoCapacity | Class::Conflict => {
                timings.sweep
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn error(class: Class) -> Error {
        Error { operation: "ec2:DescribeImages", class, code: "X".into(), message: "no".into() }
    }

    #[tokio::test]
    async fn equal_lookups_share_one_request_per_period() {
        let timings = Timings::default();
        for (answer, calls) in [
            (Ok(7), 1),
            (Err(error(Class::NotFound)), 1),
            (Err(error(Class::Transient)), 1),
            (Err(error(Class::Denied)), 1),
        ] {
            let table = Table::<&str, u32>::default();
            let asked = Cell::new(0);
            for _ in 0..3 {
                let ask = async || {
                    asked.set(asked.get() + 1);
                    answer.clone()
                };
                assert_eq!(table.ask(&"q", (&timings, None), |_| timings.sweep, ask).await, answer);
            }
            assert_eq!(asked.get(), calls, "{answer:?}");
        }
    }

    #[test]
    fn the_question_that_nobody_asks_any_more_is_forgotten_first() {
        let (timings, start) = (Timings::default(), Clock.monotonic());
        let table = Table::<usize, u32>::default();
        let ask =
            |question, second: usize| table.slot(&question, start + Duration::from_millis(second as u64), &timings);
        let kept = ask(0, 0);
        for question in 1..=KEPT {
            ask(question, question);
            ask(0, question);
        }
        assert_eq!(table.0.lock().unwrap().len(), KEPT);
        assert!(Arc::ptr_eq(&kept, &ask(0, KEPT)), "it is asked all the time");
        assert!(!table.0.lock().unwrap().contains_key(&1));
    }

    #[tokio::test]
    async fn an_answer_is_refreshed_when_it_is_too_old_or_was_invalidated() {
        let timings = Timings::default();
        let table = Table::<&str, u32>::default();
        let count = Cell::new(0);
        let next = async || {
            count.set(count.get() + 1);
            Ok(count.get())
        };
        assert_eq!(table.ask(&"q", (&timings, None), |_| Duration::ZERO, next).await, Ok(1));
        assert_eq!(table.ask(&"q", (&timings, None), |_| Duration::ZERO, next).await, Ok(2));
        assert_eq!(table.ask(&"q", (&timings, None), |_| timings.sweep, next).await, Ok(2));
        table.forget(&"q");
        assert_eq!(table.ask(&"q", (&timings, None), |_| timings.sweep, next).await, Ok(3));
        assert_eq!(table.ask(&"other", (&timings, None), |_| timings.sweep, next).await, Ok(4));
        let requested = (&timings, Some(Clock.monotonic()));
        assert_eq!(table.ask(&"q", requested, |_| timings.sweep, next).await, Ok(5));
        assert_eq!(
            table.ask(&"q", requested, |_| timings.sweep, next).await,
            Ok(5),
            "once for all roles of a reconcile"
        );
    }
}
