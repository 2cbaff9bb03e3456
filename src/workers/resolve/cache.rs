//! Answers of AWS, kept for a while and shared by all objects that ask the same in one account and region. So what is asked
//! at rest follows the number of different questions and not the number of objects.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    aws::{
        Class, Error, LONGEST_WAIT, Session,
        ec2::{Ec2, ImageRow, ImageState, SubnetRow, TemplateRow},
        ssm::Ssm,
    },
    clock::{Clock, Timings},
    ids::{AccountId, ImageId, ParameterName, Region, SecurityGroupId, SubnetId, VpcId},
    workers::template::{AmiSelector, LaunchTemplate},
};

/// So many sweep periods an image is trusted to be there, unless a launch says otherwise: only its name is of interest.
const IMAGE_PERIODS: u32 = 60;

/// The answers of all accounts and regions.
#[derive(Debug)]
pub struct Resolver {
    timings: Timings,
    lanes: Mutex<HashMap<(AccountId, Region), Arc<Lane>>>,
}

#[derive(Debug, Default)]
struct Lane {
    images: Table<ImageId, ImageRow>,
    selected: Table<AmiSelector, Arc<[ImageRow]>>,
    parameters: Table<ParameterName, String>,
    templates: Table<LaunchTemplate, TemplateRow>,
    subnets: Table<SubnetQuery, Arc<[SubnetRow]>>,
    groups: Table<(VpcId, BTreeMap<String, String>), Vec<SecurityGroupId>>,
}

/// Which subnets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SubnetQuery {
    Ids(BTreeSet<SubnetId>),
    Tags(BTreeMap<String, String>),
    /// The region's own.
    Default,
}

impl Resolver {
    pub fn new(timings: Timings) -> Self {
        Self { timings, lanes: Mutex::default() }
    }

    /// A launch showed that what is known of an image is no longer so.
    pub fn doubt(&self, session: &Session, image: &ImageId) {
        self.lane(session).images.forget(image);
    }

    /// For questions of one look. With `not_before`, answers from before that time count no more.
    pub(super) fn inquire<'a>(&'a self, session: &'a Session, not_before: Option<Instant>) -> Inquiry<'a> {
        Inquiry { session, lane: self.lane(session), timings: &self.timings, not_before }
    }

    fn lane(&self, session: &Session) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry((session.account.clone(), session.region.clone())).or_default().clone()
    }
}

/// Asks for one look.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    session: &'a Session,
    lane: Arc<Lane>,
    timings: &'a Timings,
    not_before: Option<Instant>,
}

impl Inquiry<'_> {
    pub(super) async fn image(&self, id: &ImageId) -> Result<ImageRow, Error> {
        let sweep = self.timings.sweep;
        let age = |row: &ImageRow| match row.state {
            ImageState::Available => sweep.saturating_mul(IMAGE_PERIODS),
            ImageState::Pending | ImageState::Unusable(_) => sweep,
        };
        let ask = async || describe(self.session, "ec2:DescribeImages").await?.image(id).await;
        self.lane.images.ask(id, (self.timings, self.not_before), age, ask).await
    }

    pub(super) async fn images(&self, selector: &AmiSelector) -> Result<Arc<[ImageRow]>, Error> {
        let ask = async || Ok(describe(self.session, "ec2:DescribeImages").await?.images(selector).await?.into());
        self.lane.selected.ask(selector, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }

    /// The value of a parameter, which may be anything: it is not to be shown.
    pub(super) async fn parameter(&self, name: &ParameterName) -> Result<String, Error> {
        let ask = async || Ok(Ssm::new(self.session).get_parameter(name).await?.expose().to_owned());
        self.lane.parameters.ask(name, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }

    pub(super) async fn launch_template(&self, wanted: &LaunchTemplate) -> Result<TemplateRow, Error> {
        let wanted = LaunchTemplate { on_change: None, ..wanted.clone() };
        let ask =
            async || describe(self.session, "ec2:DescribeLaunchTemplateVersions").await?.launch_template(&wanted).await;
        self.lane.templates.ask(&wanted, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }

    pub(super) async fn subnets(&self, query: SubnetQuery) -> Result<Arc<[SubnetRow]>, Error> {
        let sweep = self.timings.sweep;
        // A subnet never moves.
        let age = match &query {
            SubnetQuery::Ids(_) => sweep.saturating_mul(IMAGE_PERIODS),
            SubnetQuery::Tags(_) | SubnetQuery::Default => sweep,
        };
        let ask = async || {
            let ec2 = describe(self.session, "ec2:DescribeSubnets").await?;
            let rows = match &query {
                SubnetQuery::Ids(ids) => ec2.subnets(&ids.iter().cloned().collect::<Vec<_>>()).await,
                SubnetQuery::Tags(tags) => ec2.subnets_by_tags(tags).await,
                SubnetQuery::Default => ec2.default_subnets().await,
            };
            Ok(rows?.into())
        };
        self.lane.subnets.ask(&query, (self.timings, self.not_before), |_| age, ask).await
    }

    pub(super) async fn security_groups(
        &self,
        vpc: &VpcId,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<SecurityGroupId>, Error> {
        let ask = async || {
            describe(self.session, "ec2:DescribeSecurityGroups").await?.security_groups_by_tags(vpc, tags).await
        };
        let key = (vpc.clone(), tags.clone());
        self.lane.groups.ask(&key, (self.timings, self.not_before), |_| self.timings.sweep, ask).await
    }
}

/// EC2, once its rate allows a call.
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
    last: Arc<tokio::sync::Mutex<Option<Last<A>>>>,
}

#[derive(Debug)]
struct Last<A> {
    begun: Instant,
    ended: Instant,
    outcome: Result<A, Error>,
}

impl<Q, A> Default for Table<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Table<Q, A> {
    /// The answer to `question`: the last one while it is younger than `age` says and was asked for no earlier than
    /// `not_before`, otherwise a new one. Who comes while it is asked waits, and takes that answer.
    async fn ask(
        &self,
        question: &Q,
        (timings, not_before): (&Timings, Option<Instant>),
        age: impl Fn(&A) -> Duration,
        ask: impl AsyncFnOnce() -> Result<A, Error>,
    ) -> Result<A, Error> {
        let arrived = Clock.monotonic();
        let slot = self.slot(question, arrived, timings);
        let mut last = slot.lock().await;
        let is_good = |last: &&Last<A>| {
            arrived.saturating_duration_since(last.ended) < last.age(timings, &age)
                && not_before.is_none_or(|time| last.begun >= time)
        };
        if let Some(last) = last.as_ref().filter(is_good) {
            return last.outcome.clone();
        }
        let begun = Clock.monotonic();
        let outcome = ask().await;
        *last = Some(Last { begun, ended: Clock.monotonic(), outcome: outcome.clone() });
        outcome
    }

    fn slot(&self, question: &Q, now: Instant, timings: &Timings) -> Arc<tokio::sync::Mutex<Option<Last<A>>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(question) {
            // What nobody asks any more is forgotten when something new is asked.
            let long = timings.sweep.saturating_mul(IMAGE_PERIODS);
            slots.retain(|_, slot| now.saturating_duration_since(slot.asked) < long);
        }
        let slot = slots.entry(question.clone()).or_insert_with(|| Slot { asked: now, last: Arc::default() });
        slot.asked = now;
        slot.last.clone()
    }

    fn forget(&self, question: &Q) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(question);
    }
}

impl<A> Last<A> {
    fn age(&self, timings: &Timings, age: impl Fn(&A) -> Duration) -> Duration {
        match &self.outcome {
            Ok(answer) => age(answer),
            Err(error) => match error.class {
                // That is for the identity that got it, and another may ask next.
                Class::Denied => Duration::ZERO,
                Class::Throttled | Class::Transient => timings.progress,
                Class::NotFound | Class::InvalidInput | Class::NoCapacity | Class::Conflict => timings.sweep,
            },
        }
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
    async fn one_question_is_asked_once_a_period_however_many_ask() {
        let timings = Timings::default();
        for (answer, calls) in [
            (Ok(7), 1),
            (Err(error(Class::NotFound)), 1),
            (Err(error(Class::Transient)), 1),
            (Err(error(Class::Denied)), 3),
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

    #[tokio::test]
    async fn an_answer_is_asked_for_again_when_it_is_too_old_or_doubted() {
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
        assert_eq!(table.ask(&"q", requested, |_| timings.sweep, next).await, Ok(5), "once for all groups of a look");
    }
}
