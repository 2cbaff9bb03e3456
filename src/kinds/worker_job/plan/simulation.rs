//! Random histories of a job.

mod job;

use crate::{
    kinds::worker_job::{
        plan::simulation::job::{Event, Job, Rule as Own, Wish},
        results::Told,
    },
    workers::simulation::{
        Broken, Rule, each_is_needed,
        history::{Fate, History, Step},
        play, play_a_million, violation,
    },
};

const COMPLETIONS: u32 = 5;
const PARALLELISM: u32 = 3;
const BACKOFF: u32 = 1;

#[test]
fn no_index_runs_twice_at_once_and_nothing_is_believed_that_did_not_happen() {
    play::<Job>(0, 1024);
}

#[test]
fn each_rule_is_needed() {
    each_is_needed::<Job>(&[
        Broken::Protocol(Rule::RecordLast),
        Broken::Protocol(Rule::NewToken),
        Broken::Protocol(Rule::NoAnswerIsNo),
        Broken::Protocol(Rule::AnsweredIsSeen),
        Broken::Protocol(Rule::UnseenIsGone),
        Broken::Own(Own::LeavingIsGone),
        Broken::Own(Own::CountedAgain),
        Broken::Own(Own::LaunchIndexIgnored),
        Broken::Own(Own::EveryEndCounts),
        Broken::Own(Own::UnreadIsNone),
        Broken::Own(Own::AnyPlaceCounts),
        Broken::Own(Own::NobodyListed),
    ]);
}

/// A history that broke a promise once.
fn kept(steps: Vec<Step<Event>>) {
    assert_eq!(violation::<Job>(&History { wish: Wish::S3, steps }, None), None);
}

fn reconcile(stale: bool, first: Fate) -> Step<Event> {
    Step::Reconcile { stale, fates: [first, Fate::Works, Fate::Works, Fate::Works], pause: None }
}

fn works(n: usize, told: Told, stays: bool) -> Step<Event> {
    Step::Event(Event::Works(n, Some(told), stays))
}

#[test]
fn an_end_on_record_is_not_counted_again_after_an_older_record_was_read() {
    let (now, older, wait) = (reconcile(false, Fate::Works), reconcile(true, Fate::Works), Step::Wait(2000));
    kept(vec![now, wait, works(2, Told::Failed, false), now, wait, now, wait, now, now, older]);
}

#[test]
fn an_end_on_record_is_not_counted_again_by_a_process_that_starts_with_an_older_record() {
    let (now, older) = (reconcile(false, Fate::Works), reconcile(true, Fate::Works));
    let fails = [now, Step::Wait(100), works(2, Told::Failed, false), now, Step::Failover, now];
    kept(fails.into_iter().chain([Step::Darkness(0), Step::Restart, older, now]).collect());
}

#[test]
fn holders_that_only_the_newer_record_lists_count_against_the_parallelism() {
    let (late, now, older) =
        (reconcile(false, Fate::Late), reconcile(false, Fate::Works), reconcile(true, Fate::Works));
    kept(vec![late, Step::Failover, now, Step::Darkness(0), Step::Restart, older, now]);
}

#[test]
fn an_end_is_counted_once_while_its_launch_waits_for_another_instance() {
    let (late, now) = (reconcile(false, Fate::Late), reconcile(false, Fate::Works));
    let ends = [works(0, Told::Succeeded, false), Step::Wait(100), works(0, Told::Failed, true)];
    kept([late, Step::Wait(2000)].into_iter().chain(ends).chain([now]).collect());
}

#[test]
#[ignore = "a million histories: `make simulate`"]
fn a_million_histories_break_no_promise() {
    play_a_million::<Job>();
}
