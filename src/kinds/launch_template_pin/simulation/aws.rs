//! A model of EC2 and Auto Scaling: a launch template with its versions, images, groups, refreshes and instances.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    aws::{
        Class, Error,
        autoscaling::group::GroupRow,
        ec2::{
            ImageRow, ImageState, NewestImages,
            template_versions::{Deleted, TemplateHead, VersionRow},
        },
    },
    crd::launch_template_pin::{PinIntent, PinOperation},
    ids::{AccountId, LaunchTemplateId, Uid},
    kinds::launch_template_pin::{
        apply::Effect,
        observed::marker,
        plan::settle::description,
        simulation::{scaling::Asg, spec::image_id},
    },
    tags::OWNER_UID_TAG,
};

pub(super) const TEMPLATE: &str = "lt-0123456789abcdef0";
pub(super) const NAME: &str = "web";
const UID: &str = "11111111-1111-1111-1111-111111111111";
/// For how many milliseconds a write may not be shown.
const LAG: u64 = 45_000;

pub(super) fn uid() -> Uid {
    Uid::try_from(UID).unwrap()
}

pub(super) fn template_id() -> LaunchTemplateId {
    LaunchTemplateId::try_from(TEMPLATE).unwrap()
}

pub(super) fn wall(now: u64) -> Timestamp {
    Timestamp::from_millisecond(now as i64).unwrap()
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) image: String,
    pub(super) description: String,
    pub(super) made: u64,
    /// From when on it is listed, and from when on it is named as the latest.
    shown: u64,
    named: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) state: ImageState,
    pub(super) made: u64,
}

/// What the sweeps and look-ups that objects share show.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) head: TemplateHead,
    pub(super) groups: BTreeMap<String, GroupRow>,
    pub(super) images: Vec<Image>,
}

#[derive(Debug)]
pub(super) struct Aws {
    pub(super) now: u64,
    pub(super) owner: Option<String>,
    pub(super) images: Vec<Image>,
    pub(super) versions: BTreeMap<i64, Version>,
    pub(super) numbers: i64,
    pub(super) default: i64,
    tokens: BTreeMap<String, (i64, String, i64)>,
    /// When versions were deleted.
    pub(super) gone: BTreeMap<i64, u64>,
    /// Versions whose deletion is refused.
    pub(super) stuck: BTreeSet<i64>,
    pub(super) groups: BTreeMap<String, Asg>,
    pub(super) refreshes: usize,
    pub(super) instances: Vec<i64>,
    pub(super) fleets: BTreeSet<i64>,
    /// Since when each version is in use.
    pub(super) used: BTreeMap<i64, u64>,
    pub(super) calls: usize,
    /// A cancellation does not look whose refresh it is.
    pub(super) cancels_any: bool,
}

impl Aws {
    pub(super) fn new(now: u64, versions: usize, owner: Option<String>) -> Self {
        let mut aws = Self {
            now,
            owner,
            images: vec![],
            versions: BTreeMap::new(),
            numbers: 0,
            default: 1,
            tokens: BTreeMap::new(),
            gone: BTreeMap::new(),
            stuck: BTreeSet::new(),
            groups: BTreeMap::new(),
            refreshes: 0,
            instances: vec![],
            fleets: BTreeSet::new(),
            used: BTreeMap::new(),
            calls: 0,
            cancels_any: false,
        };
        aws.make_image(true);
        for _ in 0..versions {
            aws.add_version(image_id(900).to_string(), "by hand".into(), 0);
        }
        for (n, version) in ["$Latest", "1", "$Default", "1"].into_iter().enumerate() {
            aws.groups.insert(format!("g{n}"), Asg::new(version, n == 2, vec![1; 2]));
        }
        aws
    }

    pub(super) fn make_image(&mut self, available: bool) {
        self.now += 1000;
        let state = if available { ImageState::Available } else { ImageState::Pending };
        self.images.push(Image { state, made: self.now });
    }

    pub(super) fn latest(&self) -> i64 {
        self.versions.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The n-th last version.
    pub(super) fn nth(&self, n: usize) -> i64 {
        self.versions.keys().rev().nth(n).copied().unwrap_or(self.default)
    }

    pub(super) fn resolve(&self, version: &str) -> i64 {
        match version {
            "$Latest" => self.latest(),
            "$Default" => self.default,
            number => number.parse().unwrap(),
        }
    }

    pub(super) fn add_version(&mut self, image: String, description: String, lag: u64) -> i64 {
        self.numbers += 1;
        let (made, shown) = (self.now, self.now + lag);
        // The two lag independently.
        let named = if self.numbers % 2 == 0 { made } else { shown };
        self.versions.insert(self.numbers, Version { image, description, made, shown, named });
        self.numbers
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    pub(super) fn is_ours(version: &Version) -> bool {
        version.description.starts_with(&marker(&uid()))
    }

    pub(super) fn head(&self) -> TemplateHead {
        let shown = self.versions.iter().rev().find(|(_, version)| version.named <= self.now);
        let owner = self.owner.iter().map(|owner| (OWNER_UID_TAG.to_owned(), owner.clone()));
        TemplateHead {
            id: template_id(),
            name: NAME.into(),
            latest: shown.map_or(0, |(number, _)| *number),
            default: self.default,
            tags: owner.collect(),
        }
    }

    pub(super) fn rows(&self) -> Vec<VersionRow> {
        let shown = self.versions.iter().rev().filter(|(_, version)| version.shown <= self.now);
        let row = |(number, version): (&i64, &Version)| VersionRow {
            version: *number,
            description: version.description.clone(),
            image: Some(version.image.clone()),
            created_at: Some(wall(version.made)),
        };
        shown.map(row).collect()
    }

    pub(super) fn view(&self) -> View {
        let groups = self.groups.iter().map(|(name, group)| (name.clone(), group.row(name))).collect();
        View { head: self.head(), groups, images: self.images.clone() }
    }

    /// The versions that instances run.
    pub(super) fn running(&self) -> BTreeSet<i64> {
        let members = self.groups.values().flat_map(|group| group.instances.iter());
        members.chain(&self.instances).copied().collect()
    }

    /// Remembers since when each version is in use.
    pub(super) fn note_use(&mut self) {
        let mut used = self.running();
        used.extend(self.groups.values().map(|group| self.resolve(&group.version)));
        used.extend(&self.fleets);
        used.extend([self.default, self.latest()]);
        let since = |number: i64| (number, self.used.get(&number).copied().unwrap_or(self.now));
        self.used = used.into_iter().map(since).collect();
    }

    /// Makes a call of muster.
    pub(super) fn perform(&mut self, intent: &PinIntent, lags: bool) -> Result<Effect, Error> {
        self.calls += 1;
        self.now += 1;
        let lag = if lags { LAG } else { 0 };
        let version = intent.version.unwrap_or_default();
        match intent.operation {
            PinOperation::Claim => {
                self.owner = Some(uid().to_string());
                Ok(Effect::Done)
            }
            PinOperation::CreateVersion => {
                // The source is described before.
                if !self.versions.contains_key(&version) {
                    return Err(refused(Class::NotFound, "InvalidLaunchTemplateId.VersionNotFound"));
                }
                let image = intent.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
                if let Some((source, of, made)) = self.tokens.get(&intent.nonce) {
                    let same = *source == version && *of == image;
                    let made = same.then(|| Effect::CreatedVersion(*made, vec![]));
                    return made.ok_or_else(|| refused(Class::Conflict, "IdempotentParameterMismatch"));
                }
                let made = self.add_version(image.clone(), description(&uid(), intent), lag);
                self.tokens.insert(intent.nonce.clone(), (version, image, made));
                Ok(Effect::CreatedVersion(made, vec![]))
            }
            PinOperation::SetDefault => {
                if !self.versions.contains_key(&version) {
                    return Err(refused(Class::NotFound, "InvalidLaunchTemplateId.VersionNotFound"));
                }
                self.default = version;
                Ok(Effect::Done)
            }
            PinOperation::DeleteVersions => {
                let outcomes = intent.versions.iter().map(|number| (*number, self.delete(*number)));
                Ok(Effect::Deleted(outcomes.collect()))
            }
            PinOperation::UpdateGroup | PinOperation::StartRefresh | PinOperation::CancelRefresh => self.scale(intent),
        }
    }

    pub(super) fn delete(&mut self, number: i64) -> Deleted {
        if number == self.default || self.stuck.contains(&number) {
            return Deleted::Refused("operationNotPermitted".into());
        }
        self.versions.remove(&number);
        self.gone.insert(number, self.now);
        Deleted::Gone
    }
}

pub(super) fn refused(class: Class, code: &str) -> Error {
    Error { operation: "ec2:Simulated", class, code: code.into(), message: "refused".into() }
}

impl View {
    /// What the selector matches.
    pub(super) fn newest(&self) -> NewestImages {
        let mut newest = NewestImages::default();
        for n in (0..self.images.len()).rev() {
            let Some(row) = self.image(n) else { continue };
            match row.state {
                ImageState::Available => newest.available.push(row),
                ImageState::Pending => newest.pending = newest.pending.or(Some(row)),
                ImageState::Unusable(_) => {}
            }
        }
        newest
    }

    /// An image; `None` if it does not exist any more.
    pub(super) fn image(&self, n: usize) -> Option<ImageRow> {
        let image = self.images.get(n).filter(|image| !matches!(image.state, ImageState::Unusable(_)))?;
        Some(ImageRow {
            id: image_id(n),
            name: None,
            owner: AccountId::try_from("111122223333").unwrap(),
            owner_alias: None,
            state: image.state.clone(),
            created_at: wall(image.made),
            deprecated_at: None,
        })
    }
}
