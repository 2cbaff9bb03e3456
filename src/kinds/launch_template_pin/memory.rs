//! What this process remembers about a LaunchTemplatePin between reconciles.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::{
    aws::{Error, ec2::template_versions::VersionRow},
    clock::Timings,
    crd::launch_template_pin::PinIntent,
    ids::LaunchTemplateId,
    kinds::launch_template_pin::{
        claims::Claim,
        metrics::Shown,
        plan::{Subject, settle::Age},
    },
};

/// For how many sweep periods the versions that instances run are assumed to be the same.
const RUNNING_PERIODS: u32 = 10;
/// For how many sweep periods a list of versions is used while neither the latest nor the default version changes.
const VERSIONS_PERIODS: u32 = 60;

#[derive(Debug, Default)]
pub struct PinMemory {
    versions: Option<Versions>,
    running: Option<(Instant, BTreeSet<i64>)>,
    /// When this process first saw each open intent.
    seen: HashMap<String, Instant>,
    /// What AWS refused, by what it was about.
    problems: BTreeMap<Subject, Problem>,
    /// The versions whose deletion EC2 refused, and why.
    undeleted: BTreeMap<i64, (String, Retry)>,
    /// The nonces with which EC2 has made a version that it does not show yet.
    pub(super) used_tokens: BTreeSet<String>,
    /// What EC2 warned of when the last version was made.
    pub(super) warnings: Vec<String>,
    /// Why the last notification was not sent.
    pub(super) unsent: Option<Error>,
    notify_retry: Option<Retry>,
    pub(super) shown: Option<Shown>,
    pub(super) claim: Option<Claim>,
    /// The request for a reconcile after which refreshes that did not succeed were started again.
    pub(super) retried_at: Option<String>,
}

#[derive(Debug)]
struct Versions {
    of: (LaunchTemplateId, i64, i64),
    read: Instant,
    rows: Vec<VersionRow>,
}

#[derive(Debug)]
struct Problem {
    error: Error,
    retry: Retry,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    attempts: u32,
    at: Instant,
}

impl Retry {
    fn after(earlier: Option<Self>, now: Instant, timings: &Timings) -> Self {
        let attempts = earlier.map_or(0, |retry| retry.attempts) + 1;
        let wait = timings.progress.saturating_mul(1 << attempts.min(10)).min(timings.sweep * 10);
        Self { attempts, at: now + wait }
    }
}

impl PinMemory {
    /// The versions as they were read last, if neither the latest nor the default version has changed since. A list that ends
    /// at another version than the latest is behind, or ahead.
    pub(super) fn versions(
        &self,
        of: &(LaunchTemplateId, i64, i64),
        now: Instant,
        timings: &Timings,
    ) -> Option<&[VersionRow]> {
        let known = self.versions.as_ref().filter(|known| known.of == *of)?;
        known.rows.first().filter(|newest| newest.version == of.1)?;
        (now.saturating_duration_since(known.read) < timings.sweep * VERSIONS_PERIODS).then_some(&known.rows)
    }

    pub(super) fn learn_versions(&mut self, of: (LaunchTemplateId, i64, i64), read: Instant, rows: Vec<VersionRow>) {
        self.versions = Some(Versions { of, read, rows });
    }

    /// The versions that instances run, as they were read not long ago.
    pub(super) fn running(&self, now: Instant, timings: &Timings) -> Option<&BTreeSet<i64>> {
        let (read, versions) = self.running.as_ref()?;
        (now.saturating_duration_since(*read) < timings.sweep * RUNNING_PERIODS).then_some(versions)
    }

    pub(super) fn learn_running(&mut self, read: Instant, versions: BTreeSet<i64>) {
        self.running = Some((read, versions));
    }

    /// Something was changed in AWS.
    pub(super) fn doubt(&mut self) {
        self.versions = None;
    }

    /// How long ago this process first saw `intent`, or sent it last.
    pub(super) fn age(&mut self, intent: &PinIntent, holder: &str, now: Instant, timings: &Timings) -> Age {
        let first = *self.seen.entry(intent.nonce.clone()).or_insert(now);
        let waited = now.saturating_duration_since(first);
        // A call of another process may still arrive while that process could hold the lease.
        let wait = timings.describe_grace
            + timings.call_deadline
            + if intent.holder == holder { Duration::ZERO } else { timings.lease };
        if waited < wait { Age::Young } else { Age::Old }
    }

    /// The call of an intent was sent again, so that AWS may not show yet what it did.
    pub(super) fn sent(&mut self, intent: &PinIntent, now: Instant) {
        self.seen.insert(intent.nonce.clone(), now);
    }

    pub(super) fn keep_seen(&mut self, open: &[PinIntent]) {
        self.seen.retain(|nonce, _| open.iter().any(|intent| intent.nonce == *nonce));
        self.used_tokens.retain(|nonce| open.iter().any(|intent| intent.nonce == *nonce));
    }

    /// AWS refused a call about `subject`.
    pub(super) fn refused(&mut self, subject: Subject, error: Error, now: Instant, timings: &Timings) {
        let earlier = self.problems.get(&subject).map(|problem| problem.retry);
        let retry = Retry::after(earlier, now, timings);
        self.problems.insert(subject, Problem { error, retry });
    }

    pub(super) fn succeeded(&mut self, subject: &Subject) {
        self.problems.remove(subject);
    }

    /// Forgets what was refused and is not wanted any more.
    pub(super) fn keep_refused(&mut self, wanted: &BTreeSet<Subject>, surplus: &[i64]) {
        self.problems.retain(|subject, _| wanted.contains(subject));
        self.undeleted.retain(|version, _| surplus.contains(version));
    }

    /// What was refused and is not tried again yet.
    pub(super) fn waits(&self, now: Instant) -> BTreeSet<Subject> {
        let waits = self.problems.iter().filter(|(_, problem)| problem.retry.at > now);
        waits.map(|(subject, _)| subject.clone()).collect()
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = (&Subject, &Error)> {
        self.problems.iter().map(|(subject, problem)| (subject, &problem.error))
    }

    pub(super) fn notified(&mut self) {
        (self.unsent, self.notify_retry) = (None, None);
    }

    pub(super) fn not_notified(&mut self, error: Error, now: Instant, timings: &Timings) {
        self.notify_retry = Some(Retry::after(self.notify_retry, now, timings));
        self.unsent = Some(error);
    }

    pub(super) fn notify_waits(&self, now: Instant) -> bool {
        self.notify_retry.is_some_and(|retry| retry.at > now)
    }

    pub(super) fn undeleted(&mut self, version: i64, why: String, now: Instant, timings: &Timings) {
        let earlier = self.undeleted.get(&version).map(|(_, retry)| *retry);
        self.undeleted.insert(version, (why, Retry::after(earlier, now, timings)));
    }

    pub(super) fn deleted(&mut self, version: i64) {
        self.undeleted.remove(&version);
    }

    /// The versions whose deletion was refused and is not tried again yet.
    pub(super) fn not_deletable(&self, now: Instant) -> BTreeSet<i64> {
        let waits = self.undeleted.iter().filter(|(_, (_, retry))| retry.at > now);
        waits.map(|(version, _)| *version).collect()
    }

    pub(super) fn why_undeleted(&self) -> impl Iterator<Item = (i64, &str)> {
        self.undeleted.iter().map(|(version, (why, _))| (*version, why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Class;

    #[test]
    fn a_call_that_is_refused_again_and_again_is_repeated_with_growing_intervals() {
        let (mut memory, timings, start) = (PinMemory::default(), Timings::default(), Instant::now());
        let (mut now, mut waited) = (start, Vec::new());
        for _ in 0..12 {
            let error =
                Error { operation: "x", class: Class::Denied, code: "AccessDenied".into(), message: String::new() };
            memory.refused(Subject::Template, error, now, &timings);
            let since = now;
            while memory.waits(now).contains(&Subject::Template) {
                now += Duration::from_secs(1);
            }
            waited.push(now - since);
        }
        assert!(waited.is_sorted() && waited[0] < waited[4], "{waited:?}");
        assert_eq!(waited.last(), Some(&(timings.sweep * 10)));
        memory.succeeded(&Subject::Template);
        assert!(memory.waits(now).is_empty());
    }
}
