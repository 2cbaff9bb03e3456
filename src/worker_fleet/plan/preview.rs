//! What would be done now, told instead of done.

use std::collections::BTreeMap;

use super::{State, plan};
use crate::{
    ids::InstanceId,
    worker_fleet::desired::Desired,
    workers::{
        draft::{Observed, Pass},
        ledger::Ledger,
        preview::{self, Preview},
        roster::Sighting,
    },
};

/// The steps towards `desired`. `newcomers` are the machines that may be taken over, as EC2 shows them: a plan that takes
/// some over cannot end one yet, nor tell its group, so what they lead to is planned with them as workers.
pub(in crate::worker_fleet) fn preview(
    desired: &Desired,
    newcomers: &BTreeMap<InstanceId, Sighting>,
    observed: &Observed,
    ledger: &Ledger,
    pass: &mut Pass<'_>,
    mut assess: impl FnMut(&Observed, &Ledger) -> State,
) -> Preview {
    let first = plan(desired, &assess(observed, ledger), observed, ledger, pass);
    let taken: Vec<_> = first.ledger.adopted.iter().filter(|id| !ledger.adopted.contains(id)).cloned().collect();
    if taken.is_empty() {
        return preview::preview(&taken, ledger, &first);
    }
    let mut then = observed.clone();
    for id in &taken {
        then.roster.orphans.remove(id);
        then.roster.machines.extend(newcomers.get(id).map(|newcomer| (id.clone(), newcomer.clone())));
    }
    let with_them = Ledger { adopted: first.ledger.adopted, ..ledger.clone() };
    let last = plan(desired, &assess(&then, &with_them), &then, &with_them, pass);
    preview::preview(&taken, ledger, &last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::{
        super::sample::{at_once, desired, id, machine, observed, pass, uid},
        *,
    };
    use crate::workers::instance::InstanceState;

    const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

    #[test]
    fn what_is_taken_over_is_shown_with_all_that_follows_from_it() {
        use InstanceState::{Running, Stopped};
        let names = |n: &[u32]| n.iter().map(|n| id(*n).to_string()).collect::<Vec<_>>().join(", ");
        let over = |n: &[u32]| format!("take over {}", names(n));
        let end = |n: &[u32], why: &str| format!("end {} ({why})", names(n));
        let launch = |role: &str, zone: char| {
            format!("launch 1 m6i.large of role {role} in subnet-0000000{zone} from ami-00000001")
        };
        // Machines with a lower number are older.
        for (case, extra, own, named, orphans, steps) in [
            ("none", json!({}), vec![1, 2], vec![], vec![], vec![]),
            (
                "the oldest end",
                json!({}),
                vec![8, 9],
                vec![(1, Running), (2, Running)],
                vec![],
                vec![over(&[1, 2]), end(&[1, 2], "ScaleDown")],
            ),
            (
                "the newest end",
                json!({"scaleDownPolicy": "Newest"}),
                vec![8, 9],
                vec![(1, Running)],
                vec![],
                vec![over(&[1]), end(&[9], "ScaleDown")],
            ),
            (
                "a stopped one",
                json!({"maxUnhealthy": 1}),
                vec![8],
                vec![(1, Stopped)],
                vec![],
                vec![over(&[1]), launch("main", 'b'), end(&[1], "Stopped")],
            ),
            (
                "a role beside them",
                json!({"roles": [{"name": "leader", "replicas": 1}]}),
                vec![],
                vec![(1, Running), (2, Running)],
                vec![],
                vec![over(&[1, 2]), launch("leader", 'a')],
            ),
            ("of an earlier fleet", json!({}), vec![8, 9], vec![], vec![3], vec![over(&[3]), end(&[3], "ScaleDown")]),
        ] {
            let mut wish = desired(2, extra);
            wish.adopt.insert(uid(EARLIER));
            let mut world = observed(own.iter().map(|n| machine(*n, Running)));
            world.roster.orphans.extend(orphans.iter().map(|n| (id(*n), uid(EARLIER))));
            let named = named.iter().map(|(n, state)| (id(*n), machine(*n, *state)));
            let newcomers: BTreeMap<_, _> =
                named.clone().chain(orphans.iter().map(|n| (id(*n), machine(*n, Running)))).collect();
            let adoptable: BTreeSet<_> = named.map(|(id, _)| id).collect();
            let assess = |world: &Observed, _: &Ledger| State { adoptable: adoptable.clone(), ..at_once(&wish, world) };
            let told = pass(|pass| preview(&wish, &newcomers, &world, &Ledger::default(), pass, assess));
            assert_eq!((told.steps, told.truncated), (steps, false), "{case}");
        }
    }
}
