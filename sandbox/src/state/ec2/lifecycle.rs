//! pending -> running -> shutting-down -> terminated -> gone, and stopping -> stopped.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::estate::Estate;
use super::event::InstanceEvent;
use super::image::ImageState;
use super::instance::{HealthStatus, Instance, InstanceState, Market, ShutdownBehavior, StateReason, Transition};
use super::network;
use super::world::{Wake, World};
use crate::caller::AccountId;
use crate::config::Lifecycle;

/// EC2 promises to know a client token for at least a day.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// What somebody does to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// TerminateInstances, or terminate in the console.
    UserTerminates,
    /// StopInstances, or stop in the console.
    UserStops,
    /// `shutdown` inside of the instance: stops or terminates, by its shutdown behaviour.
    InstanceShutsDown,
    /// EC2 takes a spot instance back.
    SpotInterruption,
    /// The hardware fails under it.
    InternalError,
}

impl World {
    /// Lets everything happen that is due, each thing at its own time.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        loop {
            match self.take_wake(now) {
                Some((at, Wake::Group { account, region, name })) => {
                    self.keep_group(&account, &region, &name, at);
                    continue;
                }
                Some((at, Wake::Image { region, id })) => {
                    let image = self.images(&region, at).get_mut(&id);
                    if let Some(image) = image.filter(|image| image.state == ImageState::Pending) {
                        image.state = ImageState::Available;
                    }
                    continue;
                }
                None => {}
            }
            let Some((at, sequence, account, region)) = self.take_due(now) else { return };
            let Some(instance) = self.instance_mut(&account, &region, sequence) else { continue };
            match instance.next {
                Some((due, transition)) if due == at => self.pass(at, sequence, &account, &region, transition),
                // Something else was done to it meanwhile.
                Some(_) | None => {}
            }
        }
    }

    fn pass(&mut self, at: Timestamp, sequence: u64, account: &AccountId, region: &str, transition: Transition) {
        if transition == Transition::Reclaim {
            self.end(sequence, account, region, Ending::SpotInterruption, at);
            return;
        }
        let times = self.lifecycle.clone();
        let Some(estate) = self.estate_mut(account, region) else { return };
        let Some(instance) = estate.instances.get_mut(&sequence) else { return };
        instance.next = None;
        let next = match transition {
            Transition::Run => {
                instance.state = InstanceState::Running;
                instance.running_since = Some(at);
                let notice = instance.interruption_at.map(|end| end.duration_since(at).max(SignedDuration::ZERO));
                notice.map(|left| (left.unsigned_abs(), Transition::Reclaim))
            }
            Transition::Stop => {
                instance.state = InstanceState::Stopped;
                instance.public_ip = None;
                None
            }
            Transition::Terminate => {
                instance.state = InstanceState::Terminated;
                let (subnet, address) = (instance.subnet_id.clone(), instance.private_ip);
                if let Some(subnet) = estate.subnets.get_mut(&subnet) {
                    subnet.free_address(address);
                }
                Some(if times.terminated_tags < times.terminated_rows {
                    (times.terminated_tags, Transition::FadeTags)
                } else {
                    (times.terminated_rows, Transition::Vanish)
                })
            }
            Transition::FadeTags => {
                instance.tags.clear();
                Some((times.terminated_rows.saturating_sub(times.terminated_tags), Transition::Vanish))
            }
            Transition::Vanish => {
                instance.vanished = true;
                let left = TOKEN_LIFE - at.duration_since(instance.launch_time);
                Some((left.max(SignedDuration::ZERO).unsigned_abs(), Transition::Forget))
            }
            // Ended above, by the rules for every end.
            Transition::Reclaim => return,
            Transition::Forget => {
                if let Some(gone) = estate.instances.remove(&sequence) {
                    estate.sequences.remove(&gone.id);
                    estate.consoles.remove(&gone.id);
                }
                estate.tokens.retain(|_, used| at.duration_since(used.used_at) < TOKEN_LIFE);
                return;
            }
        };
        let entered = match transition {
            Transition::Run | Transition::Stop | Transition::Terminate => Some(instance_state(estate, sequence)),
            Transition::Reclaim | Transition::FadeTags | Transition::Vanish | Transition::Forget => None,
        };
        if let Some((after, transition)) = next {
            self.expect(sequence, account, region, at + after, transition);
        }
        if let Some((instance_id, state)) = entered.flatten() {
            self.announce(InstanceEvent {
                account: account.clone(),
                region: region.to_owned(),
                instance_id,
                state,
                at,
            });
        }
    }

    /// Sets what happens to the instance next.
    pub(crate) fn expect(
        &mut self,
        sequence: u64,
        account: &AccountId,
        region: &str,
        at: Timestamp,
        transition: Transition,
    ) {
        if let Some(instance) = self.instance_mut(account, region, sequence) {
            instance.next = Some((at, transition));
            self.schedule(at, sequence, account, region);
        }
    }

    /// Starts an instance that is stopped. Gives its state before.
    pub(crate) fn start(
        &mut self,
        sequence: u64,
        account: &AccountId,
        region: &str,
        now: Timestamp,
    ) -> Option<InstanceState> {
        let (lag, pending) = (self.describe_lag, self.lifecycle.pending);
        let instance = self.instance_mut(account, region, sequence)?;
        let before = instance.state;
        if before != InstanceState::Stopped {
            return Some(before);
        }
        remember(instance, lag, now);
        instance.state = InstanceState::Pending;
        instance.state_reason = None;
        instance.transition_reason = String::new();
        instance.launch_time = now;
        instance.running_since = None;
        instance.restarts += 1;
        instance.public_ip = instance.wants_public_ip.then(|| network::public_address(instance.sequence));
        let event = InstanceEvent {
            account: account.clone(),
            region: region.to_owned(),
            instance_id: instance.id.clone(),
            state: InstanceState::Pending,
            at: now,
        };
        self.announce(event);
        self.expect(sequence, account, region, now + pending, Transition::Run);
        Some(before)
    }

    /// Ends or stops an instance. Gives its state before. Nothing happens to one that is ending already.
    pub(crate) fn end(
        &mut self,
        sequence: u64,
        account: &AccountId,
        region: &str,
        ending: Ending,
        now: Timestamp,
    ) -> Option<InstanceState> {
        let (lag, times) = (self.describe_lag, self.lifecycle.clone());
        let instance = self.instance_mut(account, region, sequence)?;
        let before = instance.state;
        let Some((state, after, transition)) = consequence(instance, ending, &times) else { return Some(before) };
        remember(instance, lag, now);
        instance.state = state;
        instance.state_reason = Some(reason(ending));
        instance.transition_reason = match ending {
            Ending::UserTerminates | Ending::UserStops => {
                format!("User initiated ({} GMT)", now.strftime("%Y-%m-%d %H:%M:%S"))
            }
            Ending::SpotInterruption => "Server.SpotInstanceTermination".to_owned(),
            Ending::InternalError => "Server.InternalError".to_owned(),
            Ending::InstanceShutsDown => String::new(),
        };
        let event = InstanceEvent {
            account: account.clone(),
            region: region.to_owned(),
            instance_id: instance.id.clone(),
            state,
            at: now,
        };
        self.announce(event);
        self.expect(sequence, account, region, now + after, transition);
        Some(before)
    }
}

fn instance_state(estate: &Estate, sequence: u64) -> Option<(String, InstanceState)> {
    estate.instances.get(&sequence).map(|instance| (instance.id.clone(), instance.state))
}

fn consequence(
    instance: &Instance,
    ending: Ending,
    times: &Lifecycle,
) -> Option<(InstanceState, Duration, Transition)> {
    let terminate = Some((InstanceState::ShuttingDown, times.shutting_down, Transition::Terminate));
    let stop = Some((InstanceState::Stopping, times.stopping, Transition::Stop));
    match (instance.state, ending) {
        (InstanceState::ShuttingDown | InstanceState::Terminated, _) => None,
        (_, Ending::UserTerminates | Ending::SpotInterruption | Ending::InternalError) => terminate,
        (InstanceState::Stopping | InstanceState::Stopped, Ending::UserStops | Ending::InstanceShutsDown) => None,
        (InstanceState::Pending | InstanceState::Running, Ending::UserStops) => stop,
        (InstanceState::Pending | InstanceState::Running, Ending::InstanceShutsDown) => {
            match (instance.shutdown_behavior, instance.market) {
                (ShutdownBehavior::Stop, Market::OnDemand) => stop,
                // A one-time spot instance cannot be stopped.
                (ShutdownBehavior::Terminate, _) | (ShutdownBehavior::Stop, Market::Spot) => terminate,
            }
        }
    }
}

fn reason(ending: Ending) -> StateReason {
    match ending {
        Ending::UserTerminates | Ending::UserStops => {
            StateReason::new("Client.UserInitiatedShutdown", "User initiated shutdown")
        }
        Ending::InstanceShutsDown => {
            StateReason::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
        }
        Ending::SpotInterruption => StateReason::new("Server.SpotInstanceTermination", "Spot instance termination"),
        Ending::InternalError => StateReason::new("Server.InternalError", "Internal error on launch"),
    }
}

/// Before a write: describe calls go on seeing the instance as it is now for as long as they lag.
pub(crate) fn remember(instance: &mut Instance, lag: Duration, now: Timestamp) {
    let lagging = instance.stale.as_ref().is_some_and(|(until, _)| now < *until);
    if lag.is_zero() || lagging {
        return;
    }
    instance.stale = None;
    instance.stale = Some((now + lag, Some(Box::new(instance.clone()))));
}

/// The system status and the instance status.
pub(crate) fn health(instance: &Instance, initializing: Duration, now: Timestamp) -> (HealthStatus, HealthStatus) {
    let own = match (instance.state, instance.running_since) {
        (InstanceState::Running, Some(since)) if now >= since + initializing => HealthStatus::Ok,
        (InstanceState::Running | InstanceState::Pending, _) => HealthStatus::Initializing,
        (
            InstanceState::Stopping | InstanceState::Stopped | InstanceState::ShuttingDown | InstanceState::Terminated,
            _,
        ) => return (HealthStatus::NotApplicable, HealthStatus::NotApplicable),
    };
    (instance.system_status.unwrap_or(own), instance.instance_status.unwrap_or(own))
}
