//! Random histories of a job.

mod job;

use crate::{
    kinds::worker_job::{
        plan::simulation::job::{Event, Job, Rule as Own, Spec},
        results::Told,
    },
    workers::simulation::{
        Broken, Rule, each_is_needed,
        history::{Fate, History, Step},
        play, play_a_million, violation,
    },
};

#[test]
fn no_index_runs_twice_at_once_and_no_false_result_counts() {
    play::<Job>(0, 1024);
}

#[test]
fn each_rule_detects_a_violation() {
    each_is_needed::<Job>(&[
        Broken::Protocol(Rule::RecordLast),
        Broken::Protocol(Rule::NewToken),
        Broken::Protocol(Rule::NoAnswerIsNo),
        Broken::Protocol(Rule::AnsweredIsSeen),
        Broken::Protocol(Rule::MissingIsGone),
        Broken::Own(Own::LeavingIsGone),
        Broken::Own(Own::CountedAgain),
        Broken::Own(Own::LaunchIndexIgnored),
        Broken::Own(Own::EveryEndCounts),
        Broken::Own(Own::UnreadIsNone),
        Broken::Own(Own::AnyPlaceCounts),
        Broken::Own(Own::ArchivedIsNone),
        Broken::Own(Own::NobodyListed),
    ]);
}

/// A history that broke a promise once.
fn kept(steps: Vec<Step<Event>>) {
    assert_eq!(violation::<Job>(&History { spec: Spec::S3, steps }, None), None);
}

fn reconcile(stale: bool, first: Fate) -> Step<Event> {
    Step::Reconcile { stale, fates: [first, Fate::Works, Fate::Works, Fate::Works], pause: None }
}

fn works(n: usize, told: Told, stays: bool) -> Step<Event> {
    Step::Event(Event::Works(n, Some(told), stays))
}

#[test]
fn a_recorded_termination_is_not_counted_again_after_an_older_record_was_read() {
    let (now, older, wait) = (reconcile(false, Fate::Works), reconcile(true, Fate::Works), Step::Wait(2000));
    kept(vec![now, wait, works(2, Told::Failed, false), now, wait, now, wait, now, now, older]);
}

#[test]
fn a_recorded_termination_is_not_counted_again_by_a_new_process_with_an_older_record() {
    let (now, older) = (reconcile(false, Fate::Works), reconcile(true, Fate::Works));
    let fails = [now, Step::Wait(100), works(2, Told::Failed, false), now, Step::Failover, now];
    kept(fails.into_iter().chain([Step::Darkness(0), Step::Restart, older, now]).collect());
}

#[test]
fn workers_listed_only_in_the_newer_record_count_against_parallelism() {
    let (late, now, older) =
        (reconcile(false, Fate::Late), reconcile(false, Fate::Works), reconcile(true, Fate::Works));
    kept(vec![late, Step::Failover, now, Step::Darkness(0), Step::Restart, older, now]);
}

#[test]
fn a_termination_counts_once_while_its_launch_waits_for_another_instance() {
    let (late, now) = (reconcile(false, Fate::Late), reconcile(false, Fate::Works));
    let ends = [works(0, Told::Succeeded, false), Step::Wait(100), works(0, Told::Failed, true)];
    kept([late, Step::Wait(2000)].into_iter().chain(ends).chain([now]).collect());
}

#[test]
fn a_termination_is_not_counted_again_after_an_older_record_was_read_in_the_dark() {
    let (now, older) = (reconcile(false, Fate::Works), reconcile(true, Fate::Works));
    let (lost, refused) = (reconcile(false, Fate::LostAfter), reconcile(false, Fate::NoPermit));
    let ends = Step::Event(Event::Works(0, None, false));
    let unreadable = Step::Event(Event::Unreadable);
    kept(vec![lost, now, now, ends, Step::Wait(100), refused, unreadable, now, Step::Darkness(0), older, now]);
}

#[test]
#[ignore = "a million histories: `make simulate`"]
fn a_million_histories_violate_no_rule() {
    play_a_million::<Job>();
}
