//! What must never happen, and what must be so in the end.

use std::rc::Rc;

use crate::{
    aws::{autoscaling::RefreshState, ec2::ImageState},
    crd::launch_template_pin::{Follow, PinIntent, PinOperation, RetainedVersions},
    kinds::launch_template_pin::{
        desired::Desired,
        simulation::{
            Rule,
            aws::{Aws, Version, uid, wall},
            history::{Fate, Step},
            process::number,
            scaling::{Asg, Refresh},
            spec::{Edit, Spec, image_id},
            world::World,
        },
    },
};

/// A call of muster, and what was known when it was made.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) intent: PinIntent,
    pub(super) spec: Spec,
    pub(super) desired: Rc<Desired>,
    /// AWS was read not before this.
    pub(super) looked: u64,
    /// A request asks for refreshes that failed.
    pub(super) retries: bool,
    /// It arrives when nobody waits for it any more.
    pub(super) late: bool,
}

fn is_rejected(spec: &Spec, image: &str) -> bool {
    !spec.rejected.is_empty() && number_of(image).is_some_and(|n| spec.rejected.contains(&n))
}

impl World {
    /// The promise that is broken by making this call, if any.
    pub(super) fn judge_sending(&self, sent: &Sent, holder: &str) -> Option<String> {
        let Sent { intent, spec, desired, looked, .. } = sent;
        let told = |what: &str| Some(format!("{what}: {intent:?}"));
        let stored = self.object.status.intents.iter().find(|stored| stored.nonce == intent.nonce);
        if !self.recorded.contains(&intent.nonce) && !self.breaks(Rule::RecordLast) {
            return told("sent without a record");
        }
        if stored.is_some_and(|stored| stored.holder != holder) {
            return told("sent while another holder is recorded");
        }
        if spec.suspend {
            return told("sent while suspended");
        }
        if self.aws.owner.as_ref().is_some_and(|owner| *owner != uid().as_str()) {
            return told("the launch template is managed by another object");
        }
        let is_open = |at: u64| desired.window.as_ref().is_none_or(|window| window.is_open(wall(at)));
        let closed = !is_open(*looked) && !is_open(self.aws.now) && spec.rollback_to.is_none();
        let image = |number: i64| self.aws.versions.get(&number).map(|version| version.image.as_str());
        let rejected =
            |number: i64| spec.rollback_to != Some(number) && image(number).is_some_and(|i| is_rejected(spec, i));
        let version = intent.version.unwrap_or_default();
        let follow = intent.group.as_ref().and_then(|name| {
            let row = self.aws.groups.get(name)?.row(name);
            desired.follow(&row)
        });
        let is_number = intent.follow.as_ref().is_some_and(|follow| follow.parse::<i64>().is_ok());
        match intent.operation {
            PinOperation::CreateVersion => {
                let image = intent.image_id.as_ref()?;
                let runs = self.aws.versions.get(&self.aws.default).is_some_and(|at| at.image == image.as_str());
                let refused = !runs && desired.approved.as_ref().is_some_and(|approved| !approved.contains(image));
                let shown = self.aws.rows().iter().any(|row| row.version == version);
                match () {
                    () if spec.rollback_to.is_some() => told("a version is made during a rollback"),
                    () if refused => told("a version is made without approval"),
                    () if closed => told("a version is made while the window is closed"),
                    () if is_rejected(spec, image.as_str()) => told("a version is made with a rejected image"),
                    () if shown && rejected(version) => told("a version is made from a rejected one"),
                    () => None,
                }
            }
            PinOperation::SetDefault if closed => told("the default moves while the window is closed"),
            PinOperation::SetDefault if rejected(version) => told("the default moves to a rejected image"),
            PinOperation::SetDefault if !self.is_wanted(sent, version) => told("nobody wants this default"),
            PinOperation::UpdateGroup if is_number && rejected(version) => told("a group moves to a rejected image"),
            PinOperation::UpdateGroup if closed && is_number && follow == Some(Follow::Pinned) => {
                told("a group moves while the window is closed")
            }
            PinOperation::StartRefresh if !spec.refresh => told("a refresh that nobody asked for"),
            PinOperation::StartRefresh if closed => told("a refresh while the window is closed"),
            PinOperation::StartRefresh if rejected(version) => told("a refresh to a rejected image"),
            PinOperation::DeleteVersions if spec.keep.is_none() => told("deleted though all are kept"),
            _ => None,
        }
    }

    fn is_wanted(&self, Sent { spec, looked, .. }: &Sent, number: i64) -> bool {
        if spec.rollback_to.is_some() {
            return spec.rollback_to == Some(number);
        }
        let Some(version) = self.aws.versions.get(&number) else { return true };
        let stands = self.aws.versions.get(&self.aws.default);
        // From a rejected image there is only the way to the newest version that has none.
        let flees = stands.is_none_or(|version| is_rejected(spec, &version.image));
        let newest = [*looked, self.aws.now].map(|at| self.newest(spec, at));
        let is_newest = newest.into_iter().flatten().any(|n| image_id(n).as_str() == version.image);
        // What was approved is used although a newer image waits.
        let is_approved = spec.manual && spec.approved.is_some_and(|n| image_id(n).as_str() == version.image);
        // A call that is repeated moves nothing.
        let stays = self.aws.default == number;
        !spec.ami || stays || flees || Aws::is_ours(version) || is_newest || is_approved
    }

    /// The newest image that can be used, of those made before.
    fn newest(&self, spec: &Spec, before: u64) -> Option<usize> {
        let usable = |n: &usize| self.aws.images[*n].state == ImageState::Available && !spec.rejected.contains(n);
        (0..self.aws.images.len()).rev().filter(|n| self.aws.images[*n].made <= before).find(usable)
    }

    /// The promise that is broken by the arrival of this call, if any.
    pub(super) fn judge_arrival(&self, sent: &Sent) -> Option<String> {
        let Sent { intent, spec, looked, late, .. } = sent;
        let aws = &self.aws;
        let told = |what: String| Some(format!("{what}: {intent:?}"));
        let group = intent.group.as_ref().and_then(|name| aws.groups.get(name));
        let version = intent.version.unwrap_or_default();
        let followed = intent.group.as_ref().is_none_or(|name| {
            self.follows.contains(name) || self.changed.get(name).is_some_and(|changed| changed > looked)
        });
        if group.is_some() && !followed && !late {
            return told("a group of somebody else".into());
        }
        match intent.operation {
            PinOperation::CreateVersion if !aws.knows(&intent.nonce) && aws.versions.contains_key(&version) => {
                let image = intent.image_id.as_ref()?.as_str();
                let like = |(_, version): &(&i64, &Version)| Aws::is_ours(version) && version.image == image;
                let (earlier, _) = aws.versions.iter().rev().find(like)?;
                let covers = |version: &Version| {
                    !is_rejected(spec, &version.image) && version.image != image && !Aws::is_ours(version)
                };
                let returns = number_of(image).is_some_and(|n| self.rejected.contains(&n));
                let covered = returns || aws.versions.range(earlier + 1..).any(|(_, version)| covers(version));
                if covered { None } else { told(format!("version {earlier} has the same image")) }
            }
            PinOperation::DeleteVersions => {
                let bad = intent.versions.iter().find_map(|number| Some((number, self.forbids(sent, *number)?)));
                bad.and_then(|(number, why)| told(format!("version {number} is deleted: {why}")))
            }
            // One that pins the group is wanted for that.
            PinOperation::StartRefresh if !late && intent.follow.is_none() => {
                let group = group.filter(|group| aws.resolve(&group.version) == version)?;
                let name = intent.group.as_ref()?;
                // What is known of a group is forgotten when it does not follow any more.
                let since = self.changed.get(name).copied().unwrap_or_default();
                let known = |last: &&Refresh| {
                    last.ours == intent.version && last.started > since && !self.cancelled.contains(&last.id)
                };
                let last = group.last_of_ours().filter(known)?;
                match last.state {
                    // What appeared later is replaced too.
                    RefreshState::Successful if group.instances.iter().any(|of| Some(*of) != intent.version) => None,
                    RefreshState::Successful => told("a second refresh after a successful one".into()),
                    RefreshState::Unsuccessful if !sent.retries => told("a failed refresh is started again".into()),
                    _ => None,
                }
            }
            PinOperation::CancelRefresh if !late => {
                let active = group?.refreshes.first().filter(|refresh| refresh.state == RefreshState::Active)?;
                let hit = aws.cancels_any || Some(&active.id) == intent.refresh_id.as_ref();
                if hit && active.ours.is_none() && !self.is_alike(intent.group.as_ref()?) {
                    told("the refresh of somebody else ends".into())
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    /// AWS does not tell whose a refresh is: the first one after a call without a response is taken for one's own.
    fn is_alike(&self, name: &str) -> bool {
        let refreshes = self.aws.groups.get(name).map(|group| group.refreshes.as_slice()).unwrap_or_default();
        let before = refreshes.get(1).map(|refresh| refresh.id.clone());
        let theirs = refreshes.first().is_some_and(|refresh| refresh.ours.is_none());
        theirs && self.begun.contains(&(Some(name.to_owned()), before))
    }

    /// Why a version must not be deleted.
    fn forbids(&self, sent: &Sent, number: i64) -> Option<String> {
        let (aws, keep) = (&self.aws, sent.desired.keep?);
        let version = aws.versions.get(&number)?;
        let newer = aws.versions.range(number + 1..);
        let counted = newer.filter(|(_, version)| keep.of == RetainedVersions::All || Aws::is_ours(version)).count();
        // What others have deleted since was not known.
        let counted = counted + aws.gone.range(number + 1..).filter(|(_, gone)| **gone > sent.looked).count();
        if let Some(since) = aws.used.get(&number).filter(|since| **since <= sent.looked) {
            return Some(format!("in use since {since}, seen at {}", sent.looked));
        }
        match () {
            () if sent.spec.rollback_to == Some(number) => Some("the target of the rollback".into()),
            () if keep.of == RetainedVersions::Managed && !Aws::is_ours(version) => Some("of somebody else".into()),
            () if counted < keep.newest && !sent.late => Some(format!("only {counted} are newer")),
            () if aws.now - version.made < keep.min_age.as_millis() as u64 => Some("too young".into()),
            () => None,
        }
    }

    /// Ends all faults, and lets the leader reconcile until nothing is left to do.
    pub(super) fn calm(&mut self) {
        self.heal();
        self.happens_at_last();
        let mut quiet = 0;
        let mut seen = (self.aws.calls, self.object.version);
        for reconcile in 0..60 {
            if reconcile % 2 == 1 && self.unsettled().is_some() {
                self.edit(Edit::Request);
                seen.1 = self.object.version;
            }
            for name in ["g0", "g1", "g2", "g3"] {
                (0..12).for_each(|_| self.aws.progress(name));
            }
            self.apply(Step::Wait(if reconcile < 6 { 95 } else { 600 }));
            self.apply(Step::Reconcile { stale: false, fates: [Fate::Works; 4], pause: None });
            let now = (self.aws.calls, self.object.version);
            quiet = if std::mem::replace(&mut seen, now) == now { quiet + 1 } else { 0 };
            if self.violation.is_some() || quiet >= 2 && self.unsettled().is_none() {
                return;
            }
        }
        let unsettled = self.unsettled().unwrap_or_else(|| "calls or writes without an end".into());
        self.violation = Some(format!("in the end: {unsettled}"));
    }

    fn happens_at_last(&mut self) {
        self.apply(Step::Available);
        let (spec, aws) = (&self.object.spec, &self.aws);
        let suspended = spec.suspend;
        if spec.rollback_to.is_some_and(|to| !aws.versions.contains_key(&to)) {
            self.edit(Edit::Rollback(None));
        }
        if suspended {
            self.edit(Edit::Suspend);
        }
        self.object.spec.approved = self.newest(&self.object.spec, self.aws.now);
        self.edit(Edit::Request);
        self.object.desired = Rc::new(self.object.spec.desired());
    }

    /// What is not as it should be in the end.
    fn unsettled(&self) -> Option<String> {
        let (aws, spec, status) = (&self.aws, &self.object.spec, &self.object.status);
        if !status.intents.is_empty() {
            return Some(format!("open: {:?}", status.intents));
        }
        let accepted = |(_, version): &(&i64, &Version)| !is_rejected(spec, &version.image);
        let newest = aws.versions.iter().rev().find(accepted);
        // Under versions of this object, an image keeps the version that it has.
        let known = |image: usize| {
            let mut newer = aws.versions.iter().rev().filter(accepted);
            newer.find(|(_, version)| version.image == image_id(image).as_str() || !Aws::is_ours(version))
        };
        let newest = self.newest(spec, aws.now).and_then(known).or(newest);
        let (target, expected) = match (spec.rollback_to, newest, self.newest(spec, aws.now)) {
            (Some(to), ..) => (to, true),
            (None, Some((number, _)), _) if !spec.ami => (*number, true),
            (None, Some(_), Some(image)) if self.is_older(image) => (aws.default, false),
            (None, Some((number, version)), Some(image)) if version.image == image_id(image).as_str() => {
                (*number, true)
            }
            (None, Some(_), Some(image)) => {
                return Some(format!("no version has image {image}"));
            }
            _ => (aws.default, false),
        };
        if expected && (spec.set_default || spec.rollback_to.is_some()) && aws.default != target {
            return Some(format!("default {} instead of {target}", aws.default));
        }
        for (name, group) in aws.groups.iter().filter(|_| expected) {
            let Some(follow) = self.object.desired.follow(&group.row(name)) else { continue };
            let latest_is_rejected = is_rejected(spec, &aws.versions[&aws.latest()].image) || target != aws.latest();
            let want = match follow {
                Follow::Default => "$Default".into(),
                Follow::Latest if spec.rollback_to.is_none() && !latest_is_rejected => "$Latest".into(),
                _ => target.to_string(),
            };
            let number = aws.resolve(&want);
            if spec.rollback_to.is_none() && is_rejected(spec, &aws.versions[&number].image) {
                continue;
            }
            if group.version != want {
                return Some(format!("{name} has {} instead of {want}", group.version));
            }
            if self.is_alike(name) {
                continue;
            }
            if spec.refresh && group.instances.iter().any(|runs| *runs != number) && !is_left_over(group, number) {
                return Some(format!("{name} runs {:?} instead of {number}", group.instances));
            }
        }
        let surplus = aws.versions.keys().filter(|_| expected).find(|number| self.is_surplus(**number, target));
        surplus.map(|number| format!("version {number} is left"))
    }

    /// Whether the image is older than the one in use, which is gone.
    fn is_older(&self, image: usize) -> bool {
        let current = self.object.status.current_ami.as_ref().and_then(|current| number(&current.id));
        let images = &self.aws.images;
        current.is_some_and(|n| n > image && n < images.len() && images[n].state != ImageState::Available)
    }

    fn is_surplus(&self, of: i64, target: i64) -> bool {
        let (aws, spec) = (&self.aws, &self.object.spec);
        let Some((newest, all, aged)) = spec.keep else { return false };
        let counts = |version: &Version| all || Aws::is_ours(version);
        let newer = aws.versions.range(of + 1..).filter(|(_, version)| counts(version)).count();
        let kept = [spec.rollback_to, self.object.status.previous_version, Some(target)].contains(&Some(of));
        let old = !aged || aws.now - aws.versions[&of].made > 3_700_000;
        counts(&aws.versions[&of]) && newer >= newest && !kept && old && !aws.used.contains_key(&of)
    }
}

/// The last refresh left these instances, so they stay.
fn is_left_over(group: &Asg, number: i64) -> bool {
    let last = group.last_of_ours().filter(|last| last.ours == Some(number));
    last.is_some_and(|last| last.state == RefreshState::Successful)
}

fn number_of(image: &str) -> Option<usize> {
    number(&image.to_owned().try_into().ok()?)
}
