//! A process of the controller: what it remembers, and what it sees, decides and sends in a reconcile.

use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::{
    aws::{Class, autoscaling::RefreshState},
    clock::Timings,
    crd::launch_template_pin::{LaunchTemplatePinStatus, PinIntent, PinOperation},
    ids::ImageId,
    kinds::launch_template_pin::{
        Look, Step,
        apply::Effect,
        decide,
        desired::Desired,
        memory::PinMemory,
        observe::of_groups,
        observed::{Group, Observed},
        plan::{
            Call, PlanContext, calls,
            groups::{aim, needs_refreshes},
            settle::Age,
            subject,
            target::target,
        },
        simulation::{
            Rule,
            aws::{Aws, View, template_id, uid, wall},
            history::{Fate, Stage},
            spec::Spec,
            world::World,
        },
    },
};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
pub(super) static TIMINGS: LazyLock<Timings> = LazyLock::new(Timings::default);

pub(super) fn at(now: u64) -> Instant {
    *BEGINNING + Duration::from_millis(now)
}

pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// The object as the API server has it.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) version: u64,
    pub(super) generation: i64,
    pub(super) spec: Spec,
    pub(super) desired: Rc<Desired>,
    /// The annotation by which a reconcile is requested.
    pub(super) requested: Option<String>,
    pub(super) status: LaunchTemplatePinStatus,
}

impl Object {
    pub(super) fn is_requested(&self) -> bool {
        self.requested.is_some() && self.requested != self.status.common.last_handled_requested_at
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) holder: String,
    pub(super) memory: PinMemory,
    pub(super) leads: bool,
    pub(super) task: Option<Task>,
    /// The last version of the object that it wrote.
    pub(super) written: u64,
    /// What the shared sweeps showed, and when.
    pub(super) sweep: Option<(u64, View)>,
}

/// A reconcile under way.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) read: Object,
    /// What the process takes for the spec.
    pub(super) desired: Rc<Desired>,
    pub(super) started: u64,
    pub(super) own: bool,
    pub(super) not_before: u64,
    /// What was decided last, was decided by data from this time or later.
    pub(super) looked: u64,
    pub(super) retries: bool,
    pub(super) rounds: usize,
    pub(super) stage: Stage,
    pub(super) look: Option<Look>,
    /// The nonces to send, and those that are sent for the first time.
    pub(super) queue: Vec<String>,
    pub(super) new: BTreeSet<String>,
    pub(super) acknowledged: u64,
    /// What is to be written after a call.
    pub(super) answer: Option<LaunchTemplatePinStatus>,
    pub(super) fates: std::array::IntoIter<Fate, 4>,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").field("planned", &self.planned).finish_non_exhaustive()
    }
}

impl Process {
    pub(super) fn new(n: usize) -> Self {
        let memory = PinMemory::default();
        Self { holder: format!("muster-{n}"), memory, leads: true, task: None, written: 0, sweep: None }
    }

    pub(super) fn begin(&mut self, world: &World, read: Object, fates: [Fate; 4]) {
        let now = world.aws.now;
        let retries = read.is_requested() && self.memory.retried_at != read.requested;
        if read.is_requested() {
            self.memory.retried_at.clone_from(&read.requested);
        }
        let edited = read.status.common.observed_generation != Some(read.generation);
        let age = match (read.is_requested(), edited || !read.status.intents.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => TIMINGS.progress,
            (false, false) => TIMINGS.sweep,
        };
        self.task = Some(Task {
            desired: Rc::new(world.believed(&read)),
            read,
            started: now,
            own: false,
            not_before: now - millis(age),
            looked: now,
            retries,
            rounds: 0,
            stage: Stage::Look,
            look: None,
            queue: vec![],
            new: BTreeSet::new(),
            acknowledged: now,
            answer: None,
            fates: fates.into_iter(),
        });
    }

    fn sweep(&mut self, aws: &Aws, not_before: u64) -> View {
        let known = self.sweep.take().filter(|(read, _)| *read >= not_before);
        self.sweep.insert(known.unwrap_or_else(|| (aws.now, aws.view()))).1.clone()
    }

    /// What AWS shows, read as `observe` does.
    fn observe(&mut self, world: &World, task: &Task) -> Observed {
        let (aws, desired) = (&world.aws, &task.desired);
        let now = at(aws.now);
        let view = self.sweep(aws, task.not_before);
        let template = if task.own { aws.head() } else { view.head.clone() };
        let of = (template_id(), template.latest, template.default);
        let known = self.memory.versions(&of, now, &TIMINGS).filter(|_| !task.own).map(<[_]>::to_vec);
        let versions = known.unwrap_or_else(|| {
            let rows = aws.rows();
            self.memory.learn_versions(of, now, rows.clone());
            rows
        });
        let images = desired.ami.as_ref().map(|_| view.newest());
        let current = task.read.status.current_ami.as_ref().map(|image| image.id.clone());
        let newest = images.as_ref().and_then(|images| images.available.first());
        let current = current.filter(|current| newest.is_some_and(|newest| newest.id != *current));
        let current = current.map(|current| number(&current).and_then(|n| view.image(n)));
        let mut groups: Vec<_> = view.groups.values().filter(|row| desired.follow(row).is_some()).cloned().collect();
        if task.own {
            let row = |name: &String| Some(aws.groups.get(name)?.row(name));
            groups = groups.iter().filter_map(|old| row(&old.name)).collect();
        }
        let followed = groups.into_iter().filter_map(|row| Some((desired.follow(&row)?, row)));
        let groups =
            followed.map(|(follow, row)| (row.name.clone(), Group { row, follow, refreshes: None, unreadable: None }));
        let mut observed = Observed {
            of_groups: of_groups(&template, view.groups.values()),
            template,
            claimed_here: None,
            swept: None,
            versions,
            images,
            current,
            groups: groups.collect(),
            absent: vec![],
            ungranted: 0,
            left_out: 0,
            unread_refreshes: None,
            running: None,
            of_fleets: None,
        };
        if desired.keep.is_some_and(|keep| observed.versions.len() > keep.newest) {
            observed.of_fleets = Some(aws.fleets.clone());
            let known = self.memory.running(now, &TIMINGS).filter(|_| !task.own).cloned();
            let running = known.unwrap_or_else(|| {
                let running = aws.running();
                self.memory.learn_running(now, running.clone());
                running
            });
            observed.running = Some(running);
        }
        world.blind(&mut observed);
        observed
    }

    /// Looks and decides, as `look` does.
    pub(super) fn look(&mut self, world: &mut World, task: &Task) -> Look {
        let mut observed = self.observe(world, task);
        let desired = &task.desired;
        let mut stored = task.read.status.clone();
        let (uid, wall) = (uid(), wall(world.aws.now));
        let target = target(desired, &observed, &stored, &uid, wall);
        let mut needed: Vec<String> = Vec::new();
        for group in observed.groups.values() {
            let (_, version) = aim(desired, &observed, group.follow, &target);
            if needs_refreshes(desired, &observed, &stored, group, version) {
                needed.push(group.row.name.clone());
            }
        }
        for name in needed {
            let mut shown = world.aws.groups.get(&name).map(|group| group.shown()).unwrap_or_default();
            let open = stored.intents.iter().find(|intent| is_start(intent, &name));
            if let Some(open) = open.filter(|_| world.breaks(Rule::RefreshNotSearched)) {
                while shown.first().is_some_and(|row| Some(&row.id) != open.refresh_id.as_ref()) {
                    shown.remove(0);
                }
            }
            let active = shown.iter().find(|row| row.state == RefreshState::Active);
            if let Some(active) = active.filter(|_| world.breaks(Rule::CancelOthers)) {
                crate::kinds::launch_template_pin::plan::settle::started(&mut stored, &name, &active.id, None);
            }
            if let Some(group) = observed.groups.get_mut(&name) {
                group.refreshes = Some(shown);
            }
        }
        let monotonic = at(world.aws.now);
        let (waits, refused) = (self.memory.waits(monotonic), self.memory.not_deletable(monotonic));
        let next = &mut world.nonce;
        let mut nonce = || {
            *next += 1;
            *next
        };
        let mut context = PlanContext {
            uid: &uid,
            now: wall,
            holder: &self.holder,
            nonce: &mut nonce,
            waits: &waits,
            refused: &refused,
            retries: task.retries,
        };
        let (memory, holder, at_once) = (&mut self.memory, &self.holder, world.broken == Some(Rule::SearchAtOnce));
        let mut known = |intent: &PinIntent| {
            let token_is_used = memory.used_tokens.contains(&intent.nonce);
            let age = memory.age(intent, holder, monotonic, &TIMINGS);
            (if at_once { Age::Old } else { age }, token_is_used)
        };
        let (assessment, planned, step) = decide(desired, &observed, stored, &mut context, &mut known);
        let none = BTreeSet::new();
        let patient = PlanContext { waits: &none, ..context };
        let idle = LaunchTemplatePinStatus { intents: vec![], ..step.record.clone() };
        let wanted = calls(desired, &observed, &idle, &assessment, &patient);
        let wanted = wanted.iter().map(Call::subject).chain(step.record.intents.iter().map(subject)).collect();
        self.memory.keep_refused(&wanted, &assessment.retention.surplus);
        let mut step: Step = step;
        if world.breaks(Rule::NotClaimed) {
            for intent in &mut step.record.intents {
                let before = task.read.status.intents.iter().find(|old| old.nonce == intent.nonce);
                before.into_iter().for_each(|old| intent.holder.clone_from(&old.holder));
            }
        }
        Look { observed, assessment, planned, step }
    }

    /// What the response to a call changes in the record; `None` while its outcome is not known.
    pub(super) fn answered(
        &mut self,
        world: &World,
        task: &Task,
        intent: &PinIntent,
        outcome: Result<Effect, crate::aws::Error>,
    ) -> Option<LaunchTemplatePinStatus> {
        let unknown = outcome.as_ref().is_err_and(|error| error.class == Class::Transient);
        let moment = (at(world.aws.now), &*TIMINGS);
        let before = task.read.status.clone();
        self.memory.doubt();
        let open = |status: &mut LaunchTemplatePinStatus| status.intents.retain(|i| i.nonce != intent.nonce);
        let drops = unknown && world.breaks(Rule::NoAnswerIsNo)
            || outcome.is_ok() && is_create(intent) && world.breaks(Rule::AnsweredIsSeen);
        let after = crate::kinds::launch_template_pin::apply::answered(
            before.clone(),
            (intent, !task.new.contains(&intent.nonce)),
            outcome,
            &mut self.memory,
            moment,
        );
        if !drops {
            return after;
        }
        let mut after = after.unwrap_or(before);
        open(&mut after);
        Some(after)
    }
}

pub(super) fn is_create(intent: &PinIntent) -> bool {
    intent.operation == PinOperation::CreateVersion
}

fn is_start(intent: &PinIntent, group: &str) -> bool {
    intent.operation == PinOperation::StartRefresh && intent.group.as_deref() == Some(group)
}

/// The number of an image of the model.
pub(super) fn number(id: &ImageId) -> Option<usize> {
    usize::from_str_radix(id.as_str().strip_prefix("ami-")?, 16).ok()
}
