//! The instances, images, networks and launch templates of all accounts and regions, and what time does to them.

pub(crate) mod console;
pub(crate) mod estate;
pub(crate) mod event;
pub(crate) mod ids;
pub(crate) mod image;
pub(crate) mod instance;
pub(crate) mod launch;
pub(crate) mod launch_template;
pub(crate) mod lifecycle;
pub(crate) mod network;
pub(crate) mod seed;
pub(crate) mod tags;
pub(crate) mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::config::Lifecycle;
use crate::state::ssm::Ssm;
use event::InstanceEvent;
use world::World;

/// Subscribers that lag further behind than this miss events, and list the instances again.
const EVENTS_KEPT: usize = 16 * 1024;

/// All accounts and regions of one sandbox.
#[derive(Debug)]
pub(crate) struct Ec2 {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    events: broadcast::Sender<InstanceEvent>,
}

impl Ec2 {
    pub(crate) fn new(lifecycle: Lifecycle, describe_lag: Duration, ssm: Arc<Ssm>) -> Self {
        Self {
            world: Mutex::new(World::new(lifecycle, describe_lag, ssm)),
            changed: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_KEPT),
        }
    }

    /// Works on the world as it is at `now`, then tells subscribers what happened.
    pub(crate) fn with<T>(&self, now: Timestamp, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        world.tick(now);
        let due = world.next_due();
        let result = work(&mut world);
        // Sent under the lock, so that events come in the order in which things happened.
        let events = world.take_events();
        let changed = !events.is_empty() || world.next_due() != due;
        for event in events {
            // Nobody listens: nothing to do.
            let _receivers = self.events.send(event);
        }
        drop(world);
        if changed {
            self.changed.send_modify(|n| *n += 1);
        }
        result
    }

    /// Lets everything happen that is due, and tells when the next thing will be.
    pub(crate) fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.with(now, |world| world.next_due())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<InstanceEvent> {
        self.events.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
