//! The end of a history, when nothing goes wrong any more.

use super::{
    history::{Fate, Step},
    world::World,
};

impl World {
    /// Nothing is paused any more, all is well, and the leader looks now and then until nothing is left to do.
    pub(super) fn calm(&mut self) {
        for mut process in std::mem::take(&mut self.paused) {
            self.run(&mut process, None);
            self.check();
        }
        self.apply(Step::Resume);
        self.ec2.heal();
        let mut calls = (self.ec2.calls, self.object.version);
        for look in 0..70 {
            self.wait(if look < 8 { 65 } else { 600 });
            self.apply(Step::Reconcile { stale: false, fates: [Fate::Works; 4], pause: None });
            let quiet = std::mem::replace(&mut calls, (self.ec2.calls, self.object.version)) == calls;
            if self.violation.is_some() || quiet && self.is_as_wished() {
                return;
            }
        }
        let live: Vec<_> = self.ec2.machines.values().filter(|machine| machine.is_live()).collect();
        self.violation = Some(format!(
            "not as wished in the end: {} live for {:?}, {:?}",
            live.len(),
            self.wish,
            self.object.ledger
        ));
    }

    fn is_as_wished(&self) -> bool {
        let live = || self.ec2.machines.values().filter(|machine| machine.is_live() && !machine.foreign);
        if self.object.deleting {
            return self.gone && live().count() <= self.given_up() as usize;
        }
        let exact = self.object.desired.groups.iter().all(|group| {
            let current = group.supplied.supply.as_ref().map_or("", |supply| supply.revision.name.as_str());
            let right = live().filter(|m| m.instance.role() == group.role.as_str() && m.instance.revision() == current);
            right.count() == group.replicas as usize
        });
        exact && live().count() == self.object.desired.total() as usize && !self.object.ledger.is_open()
    }
}
