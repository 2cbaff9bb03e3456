//! Random histories of a fleet.

mod fleet;
mod oracle;
mod spec;

use crate::{
    kinds::worker_fleet::plan::simulation::{
        fleet::{Edit, Guard},
        oracle::Fleet,
        spec::Spec,
    },
    workers::simulation::{
        Broken, Rule, each_is_needed,
        ec2::{BY_USER, LAG},
        history::{Fate, History, Step},
        play, play_a_million, violation,
    },
};

#[test]
fn no_history_violates_a_rule() {
    play::<Fleet>(0, 2_000);
}

#[test]
fn every_rule_detects_a_violation() {
    each_is_needed::<Fleet>(&[
        Broken::Protocol(Rule::RecordLast),
        Broken::Protocol(Rule::BlindWrites),
        Broken::Protocol(Rule::RepeatOfToday),
        Broken::Protocol(Rule::NewToken),
        Broken::Protocol(Rule::OtherSubnet),
        Broken::Protocol(Rule::SendLate),
        Broken::Protocol(Rule::NoAnswerIsNo),
        Broken::Protocol(Rule::RefusalIsNo),
        Broken::Protocol(Rule::AnsweredIsSeen),
        Broken::Protocol(Rule::SearchAtOnce),
        Broken::Protocol(Rule::TagsAreTrue),
        Broken::Protocol(Rule::TagIsEnough),
        Broken::Protocol(Rule::MissingIsGone),
        Broken::Protocol(Rule::CountIsForgotten),
        Broken::Protocol(Rule::ManyAreGone),
        Broken::Own(Guard::SurgeBound),
        Broken::Own(Guard::UnavailabilityBound),
        Broken::Own(Guard::ReplacementLimit),
        Broken::Own(Guard::UnhealthyLimit),
    ]);
}

/// A history that broke a promise once.
fn kept(spec: Spec, steps: Vec<Step<Edit>>) {
    assert_eq!(violation::<Fleet>(&History { spec, steps }, None), None);
}

fn spec(replicas: u32, replacements: u32) -> Spec {
    Spec { replicas, replacements, max_unhealthy: 100, status_checks: true, ..Spec::default() }
}

fn reconcile(fates: [Fate; 4]) -> Step<Edit> {
    Step::Reconcile { stale: false, fates, pause: None }
}

#[test]
fn initial_launches_without_capacity_do_not_count_as_losses() {
    kept(spec(6, 1), vec![Step::Capacity(2, true), reconcile([Fate::Works; 4])]);
}

#[test]
fn workers_that_were_lost_before_a_new_process_observed_them_count_as_replacements() {
    let fates = [Fate::Works, Fate::CrashAfter, Fate::Works, Fate::Works];
    let death = |n| Step::Death(n, LAG, BY_USER);
    kept(spec(3, 1), vec![reconcile(fates), death(2), death(1)]);
}

#[test]
fn workers_missing_from_an_older_record_count_once_the_newer_record_is_read() {
    let spec = Spec { max_unhealthy: 1, status_checks: false, ..spec(4, 3) };
    let older = Step::Reconcile { stale: true, fates: [Fate::Works; 4], pause: None };
    let fates = [Fate::Lags, Fate::LostAfter, Fate::Works, Fate::Works];
    let works = reconcile([Fate::Works; 4]);
    kept(spec, vec![reconcile(fates), Step::Wait(200), works, Step::Darkness(1), Step::Restart, older, works]);
}

#[test]
fn a_sick_worker_with_changed_tags_costs_no_available_worker_when_the_fleet_is_scaled_down() {
    let (works, replicas) = (reconcile([Fate::Works; 4]), |n| Step::Event(Edit::Replicas(n)));
    let first = Spec { max_unhealthy: 1, newest_first: true, ..spec(6, 2) };
    let steps =
        [works, Step::Sicken(3), Step::Death(2, 0, BY_USER), replicas(1), Step::Tamper(2), Step::Failover, works];
    kept(first, steps.to_vec());
    let second = Spec { max_unhealthy: 1, bounds: 2, min_ready: 20, ..spec(3, 1) };
    let steps = [works, works, replicas(5), works, works, works, Step::Wait(200), Step::Tamper(4), replicas(2), works];
    kept(second, steps.to_vec());
}

#[test]
#[ignore = "a million histories: `make simulate`"]
fn a_million_histories_violate_no_rule() {
    play_a_million::<Fleet>();
}
