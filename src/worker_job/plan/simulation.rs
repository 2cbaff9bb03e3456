//! Random histories of results, ends, refusals, lost answers, lag and crashes against a small model of EC2 and S3, with
//! the real plan.

mod broken;
mod ec2;
mod history;
mod oracle;
mod world;

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::json;

use self::{
    broken::{BROKEN, Broken},
    history::{Deed, Step, histories},
    world::World,
};
use super::{Desired, InstanceState, tests::desired};

const COMPLETIONS: u32 = 5;
const PARALLELISM: u32 = 3;
const BACKOFF: u32 = 1;

/// Every machine does its work, and quiet reconciles until nothing changes.
fn converge(world: &mut World, desired: &Desired) -> Result<bool, TestCaseError> {
    for _ in 0..60 {
        world.apply(desired, Step::Reveal);
        let (before, calls) = (world.ledger.clone(), world.calls);
        world.reconcile(desired, &[]);
        world.check(before.progress.finished.map(|finish| finish.outcome))?;
        let idle = world.ledger == before && world.calls == calls;
        for _ in 0..COMPLETIONS {
            world.deed(0, Deed::Succeeds);
            world.apply(desired, Step::Ends(0));
        }
        let gone = world.machines.values().all(|machine| machine.state == InstanceState::Terminated);
        if idle && gone && world.ledger.progress.finished.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The promise: no index twice at once, nothing believed that did not happen, and in the end all of it done and nothing left.
fn keeps_the_promise(broken: Option<Broken>, by_shutdown: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let result = if by_shutdown { json!({"shutdownReason": {}}) } else { json!({"s3": {"bucket": "results"}}) };
    let wish = desired(json!({
        "completions": COMPLETIONS, "parallelism": PARALLELISM, "backoffLimitPerIndex": BACKOFF, "result": result,
    }));
    let mut world = World::new(broken, by_shutdown);
    for step in steps {
        let finished = world.ledger.progress.finished.map(|finish| finish.outcome);
        world.apply(&wish, *step);
        world.check(finished)?;
    }
    prop_assert!(converge(&mut world, &wish)?, "not done: {:?} {:?}", world.ledger, world.machines);
    let progress = &world.ledger.progress;
    prop_assert_eq!(progress.completed.len() + progress.failed.len(), COMPLETIONS);
    prop_assert!(!world.ledger.is_open(), "something is left on record: {:?}", world.ledger);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_index_runs_twice_at_once_and_nothing_is_believed_that_did_not_happen((by_shutdown, steps) in histories()) {
        keeps_the_promise(None, by_shutdown, &steps)?;
    }
}

#[test]
fn each_rule_is_needed() {
    for &broken in BROKEN {
        let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let found =
            runner.run(&histories(), |(by_shutdown, steps)| keeps_the_promise(Some(broken), by_shutdown, &steps));
        assert!(found.is_err(), "{broken:?} goes unnoticed");
    }
}
