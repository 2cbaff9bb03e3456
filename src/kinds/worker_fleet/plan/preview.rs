//! The plan that is shown instead of carried out.

use std::collections::BTreeMap;

use crate::{
    crd::fields::Preview,
    ids::InstanceId,
    kinds::worker_fleet::{
        desired::Desired,
        plan::{plan, state::State},
    },
    workers::{
        ledger::Ledger,
        observe::{instances::ObservedInstance, observed::Observed},
        plan::{PlanContext, preview},
    },
};

/// The steps towards `desired`. `newcomers` are the instances that may be adopted, as EC2 shows them: a plan that
/// adopts an instance can neither terminate it nor know its role, so a second plan is made with them as workers.
pub(in crate::kinds::worker_fleet) fn preview(
    desired: &Desired,
    newcomers: &BTreeMap<InstanceId, ObservedInstance>,
    observed: &Observed,
    ledger: &Ledger,
    context: &mut PlanContext<'_>,
    mut assess: impl FnMut(&Observed, &Ledger) -> State,
) -> Preview {
    let first = plan(desired, &assess(observed, ledger), observed, ledger, context);
    let known = ledger.adopted();
    let adopted: Vec<_> = first.ledger.adopted.iter().filter(|adopted| !known.contains(&adopted.id)).cloned().collect();
    let ids: Vec<_> = adopted.iter().map(|adopted| adopted.id.clone()).collect();
    if adopted.is_empty() {
        return preview::preview(&ids, ledger, &first);
    }
    let mut then = observed.clone();
    for adopted in &adopted {
        then.instances.orphans.remove(&adopted.id);
        let newcomer = newcomers.get(&adopted.id).cloned();
        let newcomer = newcomer.map(|newcomer| ObservedInstance { known: adopted.into(), ..newcomer });
        then.instances.shown.extend(newcomer.map(|newcomer| (adopted.id.clone(), newcomer)));
    }
    let with_them = Ledger { adopted: first.ledger.adopted, ..ledger.clone() };
    let last = plan(desired, &assess(&then, &with_them), &then, &with_them, context);
    preview::preview(&ids, ledger, &last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::{aws::ec2::instance::InstanceState, kinds::worker_fleet::sample::*};

    #[test]
    fn a_preview_shows_an_adoption_with_its_consequences() {
        use InstanceState::{Running, Stopped};
        let names = |n: &[u32]| n.iter().map(|n| id(*n).to_string()).collect::<Vec<_>>().join(", ");
        let over = |n: &[u32]| format!("adopt {}", names(n));
        let end = |n: &[u32], why: &str| format!("terminate {} ({why})", names(n));
        let launch = |role: &str, zone: char| {
            format!("launch 1 m6i.large of role {role} in subnet-0000000{zone} from ami-00000001")
        };
        let (plain, newest) = (json!({}), json!({"scaleDownPolicy": "Newest"}));
        let leader = json!({"roles": [{"name": "leader", "replicas": 1}]});
        // Instances with a lower number are older.
        let (one, two) = (&[(1, Running)], &[(1, Running), (2, Running)]);
        let (both, stopped) = (vec![over(&[1, 2]), end(&[1, 2], "ScaleDown")], json!({"maxUnhealthy": 1}));
        let replaced = vec![over(&[1]), launch("main", 'b'), end(&[1], "Stopped")];
        for (case, extra, own, named, orphans, steps) in [
            ("none", &plain, &[1, 2][..], &[][..], &[][..], vec![]),
            ("the oldest end", &plain, &[8, 9], two, &[], both),
            ("the newest end", &newest, &[8, 9], one, &[], vec![over(&[1]), end(&[9], "ScaleDown")]),
            ("a stopped one", &stopped, &[8], &[(1, Stopped)], &[], replaced),
            ("a role beside them", &leader, &[], two, &[], vec![over(&[1, 2]), launch("leader", 'a')]),
            ("of an earlier fleet", &plain, &[8, 9], &[], &[3], vec![over(&[3]), end(&[3], "ScaleDown")]),
        ] {
            let mut wanted = desired(2, extra.clone());
            wanted.adopt.insert(uid(EARLIER));
            let mut world = observed(own.iter().map(|n| worker(*n, Running)));
            world.instances.orphans.extend(orphans.iter().map(|n| (id(*n), orphan())));
            let named = named.iter().map(|(n, state)| (id(*n), worker(*n, *state)));
            let newcomers: BTreeMap<_, _> =
                named.clone().chain(orphans.iter().map(|n| (id(*n), worker(*n, Running)))).collect();
            let adoptable: BTreeSet<_> = named.map(|(id, _)| id).collect();
            let assess =
                |world: &Observed, _: &Ledger| State { adoptable: adoptable.clone(), ..at_once(&wanted, world) };
            let none = Ledger::default();
            let shown = in_context(2_000, |context| preview(&wanted, &newcomers, &world, &none, context, assess));
            assert_eq!((shown.steps, shown.truncated), (steps, false), "{case}");
        }
    }
}
