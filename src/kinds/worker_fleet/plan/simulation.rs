//! Random histories of a fleet.

mod fleet;
mod oracle;

use crate::{
    kinds::worker_fleet::plan::simulation::fleet::{Edit, Fleet, Guard, Wish},
    workers::simulation::{
        Broken, Rule, each_is_needed,
        ec2::{BY_USER, LAG},
        history::{Fate, History, Step},
        play, play_a_million, violation,
    },
};

#[test]
fn no_history_breaks_a_promise() {
    play::<Fleet>(0, 2_000);
}

#[test]
fn every_rule_is_needed() {
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
        Broken::Protocol(Rule::TagIsEnough),
        Broken::Protocol(Rule::UnseenIsGone),
        Broken::Protocol(Rule::CountIsForgotten),
        Broken::Protocol(Rule::ManyAreGone),
        Broken::Own(Guard::SurgeBound),
        Broken::Own(Guard::UnavailabilityBound),
        Broken::Own(Guard::ReplacementLimit),
        Broken::Own(Guard::UnhealthyLimit),
    ]);
}

/// A history that broke a promise once.
fn kept(wish: Wish, steps: Vec<Step<Edit>>) {
    assert_eq!(violation::<Fleet>(&History { wish, steps }, None), None);
}

fn wish(replicas: u32, replacements: u32) -> Wish {
    let (status_checks, min_ready) = (true, 0);
    Wish {
        replicas,
        side: None,
        template: 0,
        bounds: 0,
        replacements,
        max_unhealthy: 100,
        status_checks,
        min_ready,
        newest_first: false,
    }
}

fn look(fates: [Fate; 4]) -> Step<Edit> {
    Step::Reconcile { stale: false, fates, pause: None }
}

#[test]
fn a_first_fill_without_capacity_is_not_taken_for_a_loss() {
    kept(wish(6, 1), vec![Step::Capacity(2, true), look([Fate::Works; 4])]);
}

#[test]
fn workers_that_died_before_a_fresh_process_saw_them_are_replacements() {
    let fates = [Fate::Works, Fate::CrashAfter, Fate::Works, Fate::Works];
    let death = |n| Step::Death(n, LAG, BY_USER);
    kept(wish(3, 1), vec![look(fates), death(2), death(1)]);
}

#[test]
fn whom_an_older_record_does_not_tell_of_is_believed_in_once_the_newer_one_is_read() {
    let wish = Wish { max_unhealthy: 1, status_checks: false, ..wish(4, 3) };
    let older = Step::Reconcile { stale: true, fates: [Fate::Works; 4], pause: None };
    let fates = [Fate::Lags, Fate::LostAfter, Fate::Works, Fate::Works];
    let works = look([Fate::Works; 4]);
    kept(wish, vec![look(fates), Step::Wait(200), works, Step::Darkness(1), Step::Restart, older, works]);
}

#[test]
#[ignore = "a million histories: `make simulate`"]
fn a_million_histories_break_no_promise() {
    play_a_million::<Fleet>();
}
