//! Limits how much of all reports is held in memory, with a share for each namespace.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::config::ReportLimits;

/// What an object takes in addition to its key and its body: the entry of the index, and the fact of one view.
pub(super) const OVERHEAD: u64 = 256;

/// What one namespace may hold if it is the only one, in quarters of all. The rest is free for the next namespace, and for
/// new content that replaces old content.
const QUARTERS: u64 = 3;

/// Cheap to clone; clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: ReportLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    name: String,
    held: Held,
    /// The FleetReports of the namespace.
    members: usize,
    /// Those that may collect. Without any, the namespace has no share: who is granted nothing takes nothing from others.
    sharing: usize,
}

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) bytes: u64,
    pub(super) objects: u64,
}

impl Held {
    fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.objects += more.objects;
    }

    fn remove(&mut self, less: Self) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.objects = self.objects.saturating_sub(less.objects);
    }

    fn fits(self, more: Self, limit: Self) -> bool {
        (more.bytes == 0 || self.bytes + more.bytes <= limit.bytes)
            && (more.objects == 0 || self.objects + more.objects <= limit.objects)
    }
}

impl State {
    /// What a namespace may hold: equal shares, so that none can take what another needs.
    fn share(&self, limits: &ReportLimits) -> Held {
        let sharing = self.namespaces.iter().filter(|n| n.sharing > 0).count().max(1) as u64;
        let share = |all: u64| all / 4 * QUARTERS / sharing;
        Held { bytes: share(limits.bytes), objects: share(limits.objects) }
    }
}

impl MemoryBudget {
    pub(super) fn new(limits: ReportLimits) -> Self {
        Self(Arc::new(Shared { limits, state: Mutex::default() }))
    }

    /// A FleetReport of `namespace`, which has no share yet.
    pub(super) fn join(&self, namespace: &str) -> Member {
        let mut state = self.lock();
        let known = state.namespaces.iter().position(|n| n.name == namespace);
        let place = known.unwrap_or_else(|| {
            let unused = |n: &Namespace| n.members == 0 && n.held == Held::default();
            let place = state.namespaces.iter().position(unused).unwrap_or(state.namespaces.len());
            if place == state.namespaces.len() {
                state.namespaces.push(Namespace::default());
            }
            state.namespaces[place].name = namespace.to_owned();
            place
        });
        state.namespaces[place].members += 1;
        drop(state);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        Member { budget: self.clone(), place, shares: AtomicBool::new(false) }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> Held {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A FleetReport that holds objects for its namespace.
#[derive(Debug)]
pub(super) struct Member {
    budget: MemoryBudget,
    place: u32,
    shares: AtomicBool,
}

impl Member {
    /// Whether its namespace has a share because of this FleetReport.
    pub(super) fn set_shares(&self, shares: bool) {
        let mut state = self.budget.lock();
        let namespace = &mut state.namespaces[self.place as usize];
        match (self.shares.swap(shares, Ordering::Relaxed), shares) {
            (false, true) => namespace.sharing += 1,
            (true, false) => namespace.sharing -= 1,
            (true, true) | (false, false) => {}
        }
    }

    /// Room for `more`, if the namespace has it. What `replaces` other content may take the reserve too.
    pub(super) fn take(&self, more: Held, replaces: bool) -> Option<Room> {
        let mut room = self.room();
        (if replaces { room.grow_into_reserve(more) } else { room.grow(more) }).then_some(room)
    }

    /// No room yet.
    pub(super) fn room(&self) -> Room {
        Room { budget: self.budget.clone(), place: self.place, held: Held::default() }
    }

    /// What the namespace holds beyond its share, which became smaller with another namespace.
    pub(super) fn excess(&self) -> Held {
        let state = self.budget.lock();
        let (held, share) = (state.namespaces[self.place as usize].held, state.share(&self.budget.0.limits));
        let over = |held: u64, share: u64| held.saturating_sub(share);
        Held { bytes: over(held.bytes, share.bytes), objects: over(held.objects, share.objects) }
    }

    pub(super) fn share(&self) -> Held {
        self.budget.lock().share(&self.budget.0.limits)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.set_shares(false);
        let mut state = self.budget.lock();
        state.namespaces[self.place as usize].members -= 1;
    }
}

/// The FleetReports that share a collection, that which requested it first.
#[derive(Clone, Debug)]
pub(super) struct Members(pub(super) Vec<Arc<Member>>);

impl Members {
    /// As [`Member::take`], of the first that has room, so that a namespace without room does not harm the others.
    pub(super) fn take(&self, more: Held, replaces: bool) -> Option<Room> {
        self.0.iter().find_map(|member| member.take(more, replaces))
    }

    pub(super) fn excess(&self) -> Held {
        self.0.first().map(|member| member.excess()).unwrap_or_default()
    }

    pub(super) fn share(&self) -> Held {
        self.0.first().map(|member| member.share()).unwrap_or_default()
    }
}

/// What was taken of the budget. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: MemoryBudget,
    place: u32,
    held: Held,
}

impl Room {
    /// Takes `more` if it is within the share of the namespace.
    pub(super) fn grow(&mut self, more: Held) -> bool {
        let share = self.budget.lock().share(&self.budget.0.limits);
        self.grow_within(more, share)
    }

    /// Takes `more` for content that replaces other content: up to the share and the part of the reserve that belongs to
    /// it, so that growing objects take nothing from other namespaces.
    fn grow_into_reserve(&mut self, more: Held) -> bool {
        let Held { bytes, objects } = self.budget.lock().share(&self.budget.0.limits);
        self.grow_within(more, Held { bytes: bytes / QUARTERS * 4, objects: objects / QUARTERS * 4 })
    }

    /// For content that is in memory already, and was larger or smaller than listed.
    pub(super) fn resize(&mut self, new: Held) {
        let old = self.held;
        let mut state = self.budget.lock();
        state.held.remove(old);
        state.held.add(new);
        let namespace = &mut state.namespaces[self.place as usize].held;
        namespace.remove(old);
        namespace.add(new);
        drop(state);
        self.held = new;
    }

    fn grow_within(&mut self, more: Held, limit: Held) -> bool {
        let ReportLimits { bytes, objects } = self.budget.0.limits;
        let mut state = self.budget.lock();
        let fits = state.held.fits(more, Held { bytes, objects });
        let fits = fits && state.namespaces[self.place as usize].held.fits(more, limit);
        if fits {
            state.held.add(more);
            state.namespaces[self.place as usize].held.add(more);
            drop(state);
            self.held.add(more);
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.held.remove(self.held);
        state.namespaces[self.place as usize].held.remove(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: u64) -> Held {
        Held { bytes, objects: 1 }
    }

    fn joined(budget: &MemoryBudget, namespace: &str) -> Member {
        let member = budget.join(namespace);
        member.set_shares(true);
        member
    }

    fn budget() -> MemoryBudget {
        MemoryBudget::new(ReportLimits { bytes: 400, objects: 40 })
    }

    #[test]
    fn one_namespace_leaves_room_for_the_next() {
        let budget = budget();
        let greedy = joined(&budget, "greedy");
        let _most = greedy.take(bytes(300), false).unwrap();
        assert!(greedy.take(bytes(1), false).is_none());
        let modest = joined(&budget, "modest");
        assert_eq!(modest.share(), Held { bytes: 150, objects: 15 });
        assert_eq!(greedy.excess().bytes, 150, "it has to give back what is beyond its share");
        let some = modest.take(bytes(100), false).unwrap();
        assert!(modest.take(bytes(1), false).is_none(), "not more than all may hold");
        drop(some);
        assert_eq!(budget.held(), bytes(300));
    }

    #[test]
    fn the_number_of_objects_is_limited_too() {
        let budget = budget();
        let member = joined(&budget, "many");
        let rooms: Vec<_> = std::iter::from_fn(|| member.take(bytes(0), false)).collect();
        assert_eq!(rooms.len(), 30);
        drop(rooms);
        assert_eq!(budget.held(), Held::default());
    }

    #[test]
    fn new_content_may_be_read_before_the_old_one_is_dropped() {
        let budget = budget();
        let member = joined(&budget, "full");
        let _old = member.take(bytes(300), false).unwrap();
        assert!(member.take(bytes(100), true).is_some());
        assert!(member.take(bytes(101), true).is_none());
    }

    #[test]
    fn a_namespace_without_fleet_reports_has_no_share() {
        let budget = budget();
        drop(joined(&budget, "gone"));
        let _granted_nothing = budget.join("denied");
        let member = joined(&budget, "only");
        assert_eq!(member.share().bytes, 300);
    }

    #[test]
    fn content_that_grows_takes_no_share_of_another_namespace() {
        let budget = budget();
        let (growing, modest) = (joined(&budget, "growing"), joined(&budget, "modest"));
        let grown: Vec<_> = std::iter::from_fn(|| growing.take(bytes(10), true)).collect();
        assert_eq!(grown.len(), 20);
        assert!(modest.take(bytes(150), false).is_some());
    }
}
