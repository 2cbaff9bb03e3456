//! Machines and their results, as EC2 and S3 have them.

use super::{
    super::tests::id,
    COMPLETIONS,
    history::{Deed, Fate},
    world::World,
};
use crate::{
    ids::{ClientToken, InstanceId, SubnetId},
    worker_job::results::Told,
    workers::{indexes::Indexes, instance::InstanceState, launch::LaunchIntent},
};

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub token: ClientToken,
    pub subnet: SubnetId,
    pub indexes: Indexes,
    pub launch_index: u32,
    pub state: InstanceState,
    pub reason: &'static str,
    pub shown: bool,
}

impl Machine {
    pub(super) fn index(&self) -> u32 {
        self.indexes.nth(self.launch_index).unwrap()
    }

    pub(super) fn works(&self) -> bool {
        matches!(self.state, InstanceState::Running | InstanceState::Stopping | InstanceState::ShuttingDown)
    }
}

pub(super) enum Answer {
    Ids(Vec<InstanceId>),
    NoCapacity,
    Nothing,
    Crash,
}

impl World {
    pub(super) fn terminate(&mut self, id: &InstanceId) {
        let machine = self.machines.get_mut(id).unwrap();
        if machine.state.is_over() {
            return;
        }
        let succeeded = machine.state == InstanceState::Stopped && machine.reason == "Client.InstanceInitiatedShutdown";
        machine.state = InstanceState::ShuttingDown;
        machine.reason = "Client.UserInitiatedShutdown";
        if succeeded && !self.ledger.progress.completed.contains(self.machines[id].index()) {
            self.lost.push(id.clone());
        }
    }

    pub(super) fn run_instances(&mut self, intent: &LaunchIntent, fate: Fate) -> Answer {
        if let Fate::CrashBefore = fate {
            return Answer::Crash;
        }
        if !self.tokens.contains_key(&intent.token) {
            if let Fate::Refused = fate {
                // The model has only first calls refused; how a refusal is judged is the business of whoever calls.
                return if intent.attempts == 1 { Answer::NoCapacity } else { Answer::Nothing };
            }
            let count = if let Fate::Partial = fate { 1 } else { intent.count };
            let indexes = intent.indexes.clone().unwrap();
            assert_eq!(indexes.len(), intent.count);
            let ids: Vec<_> = (0..count).map(|n| id(self.machines.len() as u32 + n + 1)).collect();
            for (launch_index, id) in (0..).zip(&ids) {
                let machine = Machine {
                    token: intent.token.clone(),
                    subnet: intent.subnet.clone(),
                    indexes: indexes.clone(),
                    launch_index,
                    state: InstanceState::Running,
                    reason: "",
                    shown: !matches!(fate, Fate::Lags | Fate::AnswerLost | Fate::CrashAfter),
                };
                self.machines.insert(id.clone(), machine);
            }
            self.tokens.insert(intent.token.clone(), ids);
        }
        match fate {
            Fate::AnswerLost => Answer::Nothing,
            Fate::CrashAfter => Answer::Crash,
            Fate::Works | Fate::Lags | Fate::Refused | Fate::Partial | Fate::CrashBefore => {
                Answer::Ids(self.tokens[&intent.token].clone())
            }
        }
    }

    pub(super) fn deed(&mut self, n: usize, deed: Deed) {
        let mut running = self.machines.iter().filter(|(_, machine)| machine.state == InstanceState::Running);
        let Some((id, machine)) = running.nth(n).map(|(id, machine)| (id.clone(), machine.clone())) else { return };
        let index = machine.index();
        if deed == Deed::ClaimsAnother {
            if !self.by_shutdown {
                self.results.insert(((index + 1) % COMPLETIONS, id), Told::Succeeded);
            }
            return;
        }
        let spoken = self.results.contains_key(&(index, id.clone()));
        let mut tell = |told| {
            if !self.by_shutdown && !spoken {
                self.results.insert((index, id.clone()), told);
            }
        };
        let (itself, user, spot) =
            ("Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown", "Server.SpotInstanceTermination");
        let leaves = if self.by_shutdown { InstanceState::Stopped } else { InstanceState::ShuttingDown };
        let (state, reason) = match deed {
            Deed::Succeeds => (leaves, itself),
            Deed::SucceedsAndStays if self.by_shutdown => (InstanceState::Running, ""),
            Deed::SucceedsAndStays => (InstanceState::Running, ""),
            // With the shutdown reason there is no way to tell of a failure.
            Deed::Fails | Deed::FailsAndStays | Deed::EndsWithoutAWord if self.by_shutdown => return,
            Deed::Fails => (leaves, itself),
            Deed::FailsAndStays => (InstanceState::Running, ""),
            Deed::EndsWithoutAWord => (leaves, itself),
            Deed::Reclaimed => (InstanceState::ShuttingDown, spot),
            Deed::TerminatedByUser => (InstanceState::ShuttingDown, user),
            Deed::StoppedByUser => (InstanceState::Stopped, user),
            Deed::ClaimsAnother => return,
        };
        match deed {
            Deed::Succeeds | Deed::SucceedsAndStays => tell(Told::Succeeded),
            Deed::Fails | Deed::FailsAndStays => tell(Told::Failed),
            Deed::EndsWithoutAWord
            | Deed::Reclaimed
            | Deed::TerminatedByUser
            | Deed::StoppedByUser
            | Deed::ClaimsAnother => {}
        }
        let told = self.results.get(&(index, id.clone())).copied();
        let leaving = state != InstanceState::Running;
        match (told, deed) {
            (Some(Told::Succeeded), _) => {
                self.succeeded.insert(index);
            }
            (None, Deed::Succeeds) => {
                self.succeeded.insert(index);
            }
            // A result counts once, when it is written.
            (Some(Told::Failed), _) if !spoken => *self.failures.entry(index).or_default() += 1,
            (None, Deed::EndsWithoutAWord) => *self.failures.entry(index).or_default() += 1,
            (Some(Told::Failed) | None, _) => {}
        }
        if leaving {
            let machine = self.machines.get_mut(&id).unwrap();
            (machine.state, machine.reason) = (state, reason);
        }
    }
}
