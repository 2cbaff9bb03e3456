//! A reconcile, one part after the other, so that a process can be paused, or die, between any two.

use crate::kinds::launch_template_pin::simulation::{
    Rule,
    history::{Fate, Stage},
    oracle::Sent,
    process::{Process, Task},
    world::World,
};

/// What becomes of a reconcile after one of its parts.
enum Next {
    GoesOn,
    IsOver,
    /// The process is dead.
    Dies,
}

impl World {
    /// Goes on with a reconcile; false is the end of the process.
    pub(super) fn run(&mut self, process: &mut Process, pause: Option<Stage>) -> bool {
        while let Some(mut task) = process.task.take() {
            if pause == Some(task.stage) {
                process.task = Some(task);
                return true;
            }
            match self.advance(process, &mut task) {
                Next::GoesOn => process.task = Some(task),
                Next::IsOver => return true,
                Next::Dies => return false,
            }
        }
        true
    }

    fn advance(&mut self, process: &mut Process, task: &mut Task) -> Next {
        self.aws.now += 1;
        match task.stage {
            Stage::Look => self.look(process, task),
            Stage::Record => return self.record(process, task),
            Stage::Send => return self.send_next(process, task),
            Stage::Answer => {
                let answer = task.answer.take().unwrap_or_default();
                if !self.put(process, task, answer) {
                    return Next::IsOver;
                }
                task.stage = Stage::Send;
            }
            Stage::Finish => {
                if let Some(status) = self.outcome(process, task) {
                    self.put(process, task, status);
                }
                return Next::IsOver;
            }
        }
        Next::GoesOn
    }

    fn look(&mut self, process: &mut Process, task: &mut Task) {
        let look = process.look(self, task);
        task.looked = task.not_before;
        let rests = look.is_at_rest() || task.read.spec.suspend;
        task.look = Some(look);
        if rests || Self::is_last_round(task) {
            task.stage = Stage::Finish;
        } else if task.own {
            task.stage = Stage::Record;
        } else {
            (task.own, task.not_before) = (true, task.started);
            task.rounds += 1;
        }
    }

    fn record(&mut self, process: &mut Process, task: &mut Task) -> Next {
        let Some(look) = &task.look else { return Next::IsOver };
        let step = look.step.clone();
        let known = |nonce: &&String| task.read.status.intents.iter().any(|intent| intent.nonce == **nonce);
        task.new = step.send.iter().filter(|nonce| !known(nonce)).cloned().collect();
        task.queue = step.send;
        task.acknowledged = self.aws.now;
        if self.breaks(Rule::RecordLast) {
            task.read.status = step.record;
        } else if !self.put(process, task, step.record) {
            return Next::IsOver;
        }
        task.stage = Stage::Send;
        Next::GoesOn
    }

    fn send_next(&mut self, process: &mut Process, task: &mut Task) -> Next {
        if task.queue.is_empty() {
            task.not_before = self.aws.now;
            task.rounds += 1;
            task.stage = Stage::Look;
            return Next::GoesOn;
        }
        let nonce = task.queue.remove(0);
        let intent = task.read.status.intents.iter().find(|intent| intent.nonce == nonce).cloned();
        let sendable = process.leads && Self::is_in_time(task, self.aws.now) || self.breaks(Rule::SendLate);
        let Some(intent) = intent.filter(|_| sendable) else { return Next::GoesOn };
        let sent = Sent {
            intent: self.resent(task, &intent),
            spec: task.read.spec.clone(),
            desired: task.read.desired.clone(),
            looked: task.looked,
            retries: task.retries,
            late: false,
        };
        let violation = self.judge_sending(&sent, &process.holder);
        self.violate(violation);
        let fate = task.fates.next().unwrap_or(Fate::Works);
        let Some(outcome) = self.send(sent, fate) else { return Next::Dies };
        task.answer = process.answered(self, task, &intent, outcome);
        if task.answer.is_some() {
            task.stage = Stage::Answer;
        }
        Next::GoesOn
    }
}
