//! A model of Auto Scaling: groups, their instances and refreshes.

use std::collections::BTreeMap;

use crate::{
    aws::{
        Class, Error,
        autoscaling::{
            RefreshRow, RefreshState,
            group::{At, GroupRow, Member, Place},
        },
    },
    crd::launch_template_pin::{PinIntent, PinOperation},
    kinds::launch_template_pin::{
        apply::Effect,
        simulation::{
            aws::{Aws, refused, template_id},
            spec::TAG,
        },
    },
};

#[derive(Clone, Debug)]
pub(super) struct Asg {
    /// As the group names it.
    pub(super) version: String,
    pub(super) tagged: bool,
    /// The version that each instance runs.
    pub(super) instances: Vec<i64>,
    pub(super) suspended: bool,
    /// The newest first.
    pub(super) refreshes: Vec<Refresh>,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) id: String,
    pub(super) state: RefreshState,
    /// The version that the group gets when it succeeds.
    desired: Option<i64>,
    /// The version for which muster started it; `None` if somebody else did.
    pub(super) ours: Option<i64>,
    pub(super) started: u64,
}

impl Refresh {
    pub(super) fn fail(&mut self) {
        self.state = RefreshState::Unsuccessful;
    }

    pub(super) fn end(&mut self) {
        self.state = RefreshState::Ending;
    }
}

impl Asg {
    pub(super) fn new(version: &str, tagged: bool, instances: Vec<i64>) -> Self {
        Self { version: version.into(), tagged, instances, suspended: false, refreshes: vec![] }
    }

    pub(super) fn row(&self, name: &str) -> GroupRow {
        let member = |version: &i64| Member { template: Some((template_id(), *version)), stays: true };
        GroupRow {
            name: name.to_owned(),
            tags: BTreeMap::from_iter(self.tagged.then(|| (TAG.to_owned(), "yes".to_owned()))),
            places: vec![place(self.version.clone())],
            suspended: self.suspended.then(|| "Launch".to_owned()).into_iter().collect(),
            instances: self.instances.iter().map(member).collect(),
            ..GroupRow::default()
        }
    }

    /// Its last refreshes, the newest first.
    pub(super) fn shown(&self) -> Vec<RefreshRow> {
        let row = |refresh: &Refresh| RefreshRow {
            id: refresh.id.clone(),
            status: match refresh.state {
                RefreshState::Active => "InProgress",
                RefreshState::Ending => "Cancelling",
                RefreshState::Successful => "Successful",
                RefreshState::Unsuccessful => "Failed",
            }
            .into(),
            state: refresh.state,
            reason: None,
            percent: None,
            started_at: None,
            desired: refresh.desired.map(|version| place(version.to_string())).into_iter().collect(),
        };
        self.refreshes.iter().take(10).map(row).collect()
    }

    pub(super) fn running(&mut self) -> Option<&mut Refresh> {
        self.refreshes.first_mut().filter(|refresh| !is_over(refresh))
    }

    /// The last refresh that muster started.
    pub(super) fn last_of_ours(&self) -> Option<&Refresh> {
        self.refreshes.iter().find(|refresh| refresh.ours.is_some())
    }
}

fn place(version: String) -> Place {
    Place { at: At::Template, id: Some(template_id()), name: None, version }
}

fn is_over(refresh: &Refresh) -> bool {
    matches!(refresh.state, RefreshState::Successful | RefreshState::Unsuccessful)
}

impl Aws {
    pub(super) fn scale(&mut self, intent: &PinIntent) -> Result<Effect, Error> {
        let name = intent.group.clone().unwrap_or_default();
        let exists = |number: i64| self.versions.contains_key(&number);
        let follow = intent.follow.as_deref();
        let number = follow.and_then(|follow| follow.parse().ok());
        let unknown = number.is_some_and(|number| !exists(number));
        let Some(group) = self.groups.get_mut(&name) else {
            return Err(refused(Class::NotFound, "GroupNotFound"));
        };
        match intent.operation {
            PinOperation::CancelRefresh => {
                let any = self.cancels_any;
                let active = group.refreshes.first_mut().filter(|refresh| refresh.state == RefreshState::Active);
                let active = active.filter(|refresh| any || Some(&refresh.id) == intent.refresh_id.as_ref());
                active.into_iter().for_each(Refresh::end);
                Ok(Effect::Done)
            }
            _ if unknown => Err(refused(Class::InvalidInput, "ValidationError")),
            PinOperation::UpdateGroup => {
                group.version = follow.unwrap_or("$Default").to_owned();
                Ok(Effect::Done)
            }
            _ => {
                let started = self.start_refresh(&name, number, intent.version);
                started.map(Effect::StartedRefresh)
            }
        }
    }

    pub(super) fn start_refresh(
        &mut self,
        name: &str,
        desired: Option<i64>,
        ours: Option<i64>,
    ) -> Result<String, Error> {
        let Some(group) = self.groups.get_mut(name) else {
            return Err(refused(Class::NotFound, "GroupNotFound"));
        };
        if group.running().is_some() {
            return Err(refused(Class::Conflict, "InstanceRefreshInProgress"));
        }
        self.refreshes += 1;
        let id = format!("refresh-{}", self.refreshes);
        let refresh = Refresh { id: id.clone(), state: RefreshState::Active, desired, ours, started: self.now };
        group.refreshes.insert(0, refresh);
        Ok(id)
    }

    /// Replaces an instance of each group with a refresh, or ends the refresh.
    pub(super) fn progress(&mut self, name: &str) {
        let Some(version) = self.groups.get(name).map(|group| group.version.clone()) else { return };
        let (named, versions) = (self.resolve(&version), &self.versions);
        let exists = |number: i64| versions.contains_key(&number);
        let Some(group) = self.groups.get_mut(name) else { return };
        let blocked = group.suspended;
        let Some(refresh) = group.running() else { return };
        if refresh.state == RefreshState::Ending {
            refresh.state = RefreshState::Unsuccessful;
            return;
        }
        let (desired, to) = (refresh.desired, refresh.desired.unwrap_or(named));
        if blocked {
            return;
        }
        if !exists(to) {
            refresh.fail();
            return;
        }
        if let Some(instance) = group.instances.iter_mut().find(|instance| **instance != to) {
            *instance = to;
            return;
        }
        if let Some(refresh) = group.running() {
            refresh.state = RefreshState::Successful;
        }
        if let Some(desired) = desired {
            group.version = desired.to_string();
        }
    }
}
