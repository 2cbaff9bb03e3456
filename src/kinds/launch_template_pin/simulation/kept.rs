//! Histories that broke a promise once.

use crate::{
    crd::launch_template_pin::Follow,
    kinds::launch_template_pin::simulation::{
        history::{Fate, History, Stage, Start, Step},
        spec::{Edit, Spec},
        violation,
    },
};

const WORKS: [Fate; 4] = [Fate::Works; 4];

/// A spec with these named groups.
fn spec(named: [Option<Follow>; 2], refresh: bool) -> Spec {
    Spec {
        ami: true,
        rejected: vec![],
        set_default: true,
        keep: None,
        named,
        selected: None,
        refresh,
        window: false,
        manual: false,
        approved: None,
        rollback_to: None,
        suspend: false,
    }
}

fn reconcile(fates: [Fate; 4]) -> Step {
    Step::Reconcile { stale: false, fates, pause: None }
}

fn kept(spec: Spec, versions: usize, steps: Vec<Step>) {
    let history = History { spec, start: Start { versions, taken: false }, steps };
    assert_eq!(violation(&history, None).0, None);
}

#[test]
fn a_group_is_pinned_whose_instances_run_the_version_already() {
    kept(Spec { ami: false, ..spec([Some(Follow::Pinned), None], true) }, 1, vec![]);
}

#[test]
fn a_refused_repetition_says_nothing_about_the_first_call() {
    let fates = [Fate::Works, Fate::Late, Fate::Denied, Fate::Works];
    kept(spec([None; 2], false), 1, vec![reconcile(fates), reconcile(WORKS), reconcile(WORKS)]);
}

#[test]
fn a_version_is_not_made_again_while_it_is_held_back() {
    let dies = reconcile([Fate::Works, Fate::CrashBefore, Fate::Works, Fate::Works]);
    for edit in [Edit::Rollback(Some(0)), Edit::Reject(0)] {
        kept(spec([Some(Follow::Latest), None], false), 1, vec![dies, Step::User(edit), reconcile(WORKS)]);
    }
}

#[test]
fn a_version_that_a_repetition_made_is_waited_for() {
    let dies = reconcile([Fate::Works, Fate::CrashBefore, Fate::Works, Fate::Works]);
    let lags = [Fate::Lags, Fate::Works, Fate::Works, Fate::Works];
    let pauses = Step::Reconcile { stale: false, fates: lags, pause: Some(Stage::Record) };
    kept(spec([None; 2], false), 1, vec![dies, pauses, Step::Wait(2000)]);
}

#[test]
fn nothing_moves_to_a_rejected_image_if_no_other_image_is_left() {
    let crash = reconcile([Fate::Works, Fate::CrashAfter, Fate::Works, Fate::Works]);
    for follow in [Follow::Latest, Follow::Default, Follow::Pinned] {
        let steps = vec![reconcile(WORKS), crash, Step::User(Edit::Reject(0))];
        kept(spec([Some(follow), None], true), 1, steps);
    }
}

#[test]
fn a_refresh_that_was_found_is_known_as_ones_own() {
    let lost = reconcile([Fate::Works, Fate::Works, Fate::LostBefore, Fate::Works]);
    let found = reconcile([Fate::Works, Fate::LostAfter, Fate::Works, Fate::Works]);
    let steps = vec![Step::User(Edit::SetDefault), Step::Default(1), lost, found, Step::Fails(1), reconcile(WORKS)];
    kept(spec([None, Some(Follow::Default)], true), 3, steps);
}

#[test]
fn a_list_of_versions_that_is_behind_is_read_again() {
    let lags = reconcile([Fate::Works, Fate::Lags, Fate::Works, Fate::Works]);
    kept(spec([None; 2], false), 1, vec![lags, Step::User(Edit::Rollback(Some(0)))]);
}

#[test]
fn a_repetition_is_not_sent_for_a_spec_that_has_changed() {
    let crash = reconcile([Fate::CrashAfter, Fate::Works, Fate::Works, Fate::Works]);
    let pauses = Step::Reconcile { stale: false, fates: WORKS, pause: Some(Stage::Send) };
    let edit = Step::User(Edit::Follow(1, None));
    let spec = Spec { manual: true, ..spec([None, Some(Follow::Default)], false) };
    kept(spec, 3, vec![crash, pauses, Step::Wait(10), edit]);
}

#[test]
fn a_refresh_that_muster_cancelled_has_not_failed() {
    let works = reconcile(WORKS);
    let steps = vec![works, works, works, Step::Image(true), Step::Wait(200), works, works];
    let ends = [Step::User(Edit::Window), Step::Wait(2000), works, Step::User(Edit::Reject(0))];
    kept(spec([Some(Follow::Pinned), None], true), 3, steps.into_iter().chain(ends).collect());
}

#[test]
fn the_refresh_of_somebody_else_after_ones_own_is_not_taken_for_it() {
    let fates = [Fate::LostAfter, Fate::Works, Fate::Works, Fate::Works];
    let pauses = Step::Reconcile { stale: false, fates, pause: Some(Stage::Answer) };
    let others = [Step::Default(1), Step::Cancel(0), Step::Progress(0), Step::Start(0), Step::Abort];
    let steps = [reconcile(WORKS), Step::Resume, Step::User(Edit::Rollback(Some(0))), pauses];
    let spec = Spec { manual: true, ..spec([Some(Follow::Default), None], true) };
    kept(spec, 3, steps.into_iter().chain(others).collect());
}

/// A spec whose images wait for approval.
fn manual(named: [Option<Follow>; 2]) -> Spec {
    Spec { manual: true, ..spec(named, false) }
}

#[test]
fn an_approved_image_may_be_in_a_version_of_somebody_else_while_a_newer_one_waits() {
    let steps = vec![
        Step::User(Edit::Approve),
        Step::Image(true),
        Step::Reconcile { stale: false, fates: WORKS, pause: Some(Stage::Look) },
        Step::Version(Some(0)),
    ];
    kept(manual([Some(Follow::Latest), None]), 1, steps);
}

#[test]
fn the_image_that_runs_needs_no_approval_to_be_put_on_top_again() {
    let late = reconcile([Fate::Works, Fate::Late, Fate::Works, Fate::Works]);
    let steps = vec![
        reconcile(WORKS),
        Step::User(Edit::Approve),
        late,
        Step::Version(Some(2)),
        Step::Image(false),
        Step::Wait(60),
        Step::User(Edit::Approve),
        reconcile(WORKS),
    ];
    kept(manual([None; 2]), 1, steps);
}

#[test]
fn a_group_that_is_to_be_pinned_during_its_refresh_waits_for_the_window() {
    let spec = Spec { window: true, ..spec([None, Some(Follow::Default)], true) };
    let pinned = Step::User(Edit::Follow(1, Some(Follow::Pinned)));
    let steps = vec![reconcile(WORKS), reconcile(WORKS), pinned, Step::Wait(2000), reconcile(WORKS)];
    kept(spec, 1, steps);
}

#[test]
fn the_default_that_left_a_rejected_image_may_be_set_again() {
    let late = reconcile([Fate::Late, Fate::Works, Fate::Works, Fate::Works]);
    let older = Step::Reconcile { stale: true, fates: WORKS, pause: None };
    let paused = Step::Reconcile { stale: false, fates: WORKS, pause: Some(Stage::Record) };
    let now = reconcile(WORKS);
    let steps = vec![now, Step::User(Edit::Reject(1)), late, Step::Restart, older, older, paused, now, now];
    kept(spec([None; 2], false), 2, steps);
}

#[test]
fn an_image_that_is_accepted_again_has_its_version_already() {
    let (now, rejects) = (reconcile(WORKS), Step::User(Edit::Reject(0)));
    kept(spec([None; 2], false), 2, vec![Step::Image(true), now, Step::Failover, rejects, now, rejects]);
}

#[test]
fn a_group_is_not_corrected_to_a_rejected_image_while_its_refresh_is_cancelled() {
    let denied = reconcile([Fate::Denied, Fate::Works, Fate::Works, Fate::Works]);
    let now = reconcile(WORKS);
    let steps = vec![denied, now, now, now, Step::Resume, Step::Delete(1), Step::User(Edit::Reject(0)), now];
    kept(spec([Some(Follow::Latest), None], true), 1, steps);
}
