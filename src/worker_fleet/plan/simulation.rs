//! Random histories against small models of the API server and of EC2, with the real plan, memory, health and judgement of
//! answers. A rule of the write protocol that is switched off must be missed, or the histories prove nothing.

mod broken;
mod calm;
mod ec2;
mod history;
mod oracle;
mod process;
mod wish;
mod world;

use std::time::Instant;

use self::{
    broken::{BROKEN, Broken},
    history::{Fate, History, Lag, Step},
    wish::Wish,
    world::World,
};

/// What is wrong with a history, if anything.
fn violation(history: &History, broken: Option<Broken>) -> Option<String> {
    let mut world = World::new(history.wish.clone(), broken);
    for step in &history.steps {
        world.apply(*step);
        if world.violation.is_some() {
            return world.violation;
        }
    }
    world.calm();
    world.violation
}

/// Plays `count` histories from `seed` on; the first bad one fails, made short.
fn play(seed: u64, count: u64) {
    for seed in seed..seed + count {
        let history = History::draw(seed);
        if violation(&history, None).is_some() {
            let short = history.shrink(|history| violation(history, None).is_some());
            panic!("seed {seed}: {}\n{short:#?}", violation(&short, None).unwrap_or_default());
        }
    }
}

#[test]
fn no_history_breaks_a_promise() {
    play(0, 2_000);
}

#[test]
fn every_rule_is_needed() {
    let first = |broken: Broken| {
        (0..10_000).find(|seed| {
            let history = History::draw(*seed);
            violation(&history, Some(broken)).is_some() && violation(&history, None).is_none()
        })
    };
    let found = std::thread::scope(|scope| {
        let searches = BROKEN.map(|broken| (broken, scope.spawn(move || first(broken))));
        searches.map(|(broken, search)| (broken, search.join().expect("a search that ends")))
    });
    let unnoticed: Vec<_> = found.iter().filter(|(_, first)| first.is_none()).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?} of {found:?}");
    println!("found at {found:?}");
}

/// A history that broke a promise once.
fn kept(wish: Wish, steps: Vec<Step>) {
    assert_eq!(violation(&History { wish, steps }, None), None);
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

fn look(fates: [Fate; 4]) -> Step {
    Step::Reconcile { stale: false, fates, pause: None }
}

#[test]
fn a_first_fill_without_capacity_is_not_taken_for_a_loss() {
    kept(wish(6, 1), vec![Step::Capacity(2, true), look([Fate::Works; 4])]);
}

#[test]
fn workers_that_died_before_a_fresh_process_saw_them_are_replacements() {
    let fates = [Fate::Works, Fate::CrashAfter, Fate::Works, Fate::Works];
    kept(wish(3, 1), vec![look(fates), Step::Death(2, Lag::Some), Step::Death(1, Lag::Some)]);
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
    let seed: u64 = rand::random_range(0..1 << 40);
    let (begun, count) = (Instant::now(), 1_000_000);
    let halves = [0, 1].map(|half| {
        let seed = seed + half * count / 2;
        std::thread::spawn(move || play(seed, count / 2))
    });
    println!("{count} histories from seed {seed} on ...");
    halves.into_iter().for_each(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    println!("{count} histories from seed {seed} on: none broke a promise, {:.0?}", begun.elapsed());
}
