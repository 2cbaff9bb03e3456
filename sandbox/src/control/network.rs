//! Subnets, security groups, key pairs, images and launch templates, as tests add and change them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Control, ImageSpec, SecurityGroupSpec, SubnetSpec};
use crate::caller::AccountId;
use crate::duration::CENTURY;
use crate::error::ApiError;
use crate::state::ec2::estate::Zone;
use crate::state::ec2::image::{Image, ImageState};
use crate::state::ec2::network::{self, SecurityGroup, Subnet};
use crate::state::ec2::{ids, launch_template};

impl Control {
    pub fn subnets(&self, account: &AccountId, region: &str) -> Vec<Subnet> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let mut subnets: Vec<Subnet> = world.estate(account, region, now).subnets.values().cloned().collect();
            subnets.sort_by(|a, b| (&a.zone, !a.default_for_zone, &a.id).cmp(&(&b.zone, !b.default_for_zone, &b.id)));
            subnets
        })
    }

    pub fn security_groups(&self, account: &AccountId, region: &str) -> Vec<SecurityGroup> {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).security_groups.values().cloned().collect())
    }

    pub fn add_subnet(&self, spec: SubnetSpec) -> Result<Subnet, ApiError> {
        let (network, prefix_length) = network::parse_cidr(&spec.cidr)?;
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let estate = world.estate(&spec.account, &spec.region, now);
            let named = |zone: &&Zone| zone.name == spec.zone || zone.name == format!("{}{}", spec.region, spec.zone);
            let zone = estate.zones.iter().find(named).ok_or_else(|| {
                ApiError::new("InvalidParameterValue", format!("There is no zone {} in {}", spec.zone, spec.region))
            })?;
            let subnet = Subnet {
                id: ids::random("subnet"),
                vpc_id: spec.vpc_id.unwrap_or_else(|| estate.default_vpc.clone()),
                zone: zone.name.clone(),
                zone_id: zone.id.clone(),
                network,
                prefix_length,
                default_for_zone: false,
                map_public_ip: false,
                tags: spec.tags,
                addresses: network::Addresses::default(),
            };
            estate.subnets.insert(subnet.id.clone(), subnet.clone());
            Ok(subnet)
        })
    }

    pub fn add_security_group(&self, spec: SecurityGroupSpec) -> SecurityGroup {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let estate = world.estate(&spec.account, &spec.region, now);
            let group = SecurityGroup {
                id: ids::random("sg"),
                vpc_id: spec.vpc_id.unwrap_or_else(|| estate.default_vpc.clone()),
                description: spec.name.clone(),
                name: spec.name,
                tags: spec.tags,
            };
            estate.security_groups.insert(group.id.clone(), group.clone());
            group
        })
    }

    /// Makes a key pair. Every account has one to start with, [`crate::KEY_PAIR`].
    pub fn add_key_pair(&self, account: &AccountId, region: &str, name: &str) {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).key_pairs.insert(name.to_owned()));
    }

    pub fn delete_key_pair(&self, account: &AccountId, region: &str, name: &str) {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).key_pairs.remove(name));
    }

    pub fn add_image(&self, spec: ImageSpec) -> Image {
        let now = self.now();
        let image = Image {
            id: ids::random("ami"),
            owner: spec.owner,
            owner_alias: None,
            name: spec.name,
            description: spec.description,
            architecture: spec.architecture,
            state: spec.state,
            public: spec.public,
            created: spec.created.unwrap_or(now),
            deprecated_at: spec.deprecated_at,
            root_device_name: "/dev/xvda".to_owned(),
            root_volume_gib: 8,
            snapshot_id: ids::random("snap"),
            virtualization_type: "hvm".to_owned(),
            ena_support: true,
            boot_mode: None,
            imds_v2: true,
            tags: spec.tags,
            files: spec.files,
        };
        let available = spec.available_after_millis.map(|after| now + Duration::from_millis(after).min(CENTURY));
        self.state.ec2.with(now, |world| {
            world.images(&spec.region, now).insert(image.id.clone(), image.clone());
            if let Some(at) = available {
                world.wake_image(at, &spec.region, &image.id);
            }
        });
        image
    }

    /// What is on the disk of an image. A deregistered one has left its instances what they booted with.
    pub(crate) fn image_files(&self, region: &str, image_id: &str) -> BTreeMap<String, String> {
        let now = self.now();
        self.state
            .ec2
            .with(now, |world| world.images(region, now).get(image_id).map(|image| image.files.clone()))
            .unwrap_or_default()
    }

    pub fn set_image_state(&self, region: &str, image_id: &str, state: ImageState) -> Result<(), ApiError> {
        self.on_image(region, image_id, |image| image.state = state)
    }

    /// Sets when the image is deprecated: describe calls omit it unless they ask for it, and launches still work.
    pub fn set_image_deprecation(&self, region: &str, image_id: &str, at: Option<Timestamp>) -> Result<(), ApiError> {
        self.on_image(region, image_id, |image| image.deprecated_at = at)
    }

    /// As its owner does with DeregisterImage: no instance can be launched from it any more.
    pub fn deregister_image(&self, region: &str, image_id: &str) -> Result<(), ApiError> {
        let now = self.now();
        let gone = self.state.ec2.with(now, |world| world.images(region, now).remove(image_id));
        gone.map(|_| ()).ok_or_else(|| ids::images_not_found(&[image_id]))
    }

    /// From now on, launches of an image fail with this error; `None`: they succeed again. EC2 says so at RunInstances,
    /// and groups at their activities.
    pub fn fail_launches(&self, region: &str, image_id: &str, error: Option<ApiError>) {
        self.state.ec2.with(self.now(), |world| world.fail_launches(region, image_id, error));
    }

    fn on_image(&self, region: &str, image_id: &str, change: impl FnOnce(&mut Image)) -> Result<(), ApiError> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            world.images(region, now).get_mut(image_id).map(change).ok_or_else(|| ids::images_not_found(&[image_id]))
        })
    }

    /// From now on, DeleteLaunchTemplateVersions fails to delete these versions.
    pub fn set_undeletable_versions(
        &self,
        account: &AccountId,
        region: &str,
        template_id: &str,
        versions: &[u64],
    ) -> Result<(), ApiError> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let template = world.estate(account, region, now).launch_templates.by_id.get_mut(template_id);
            template.ok_or_else(|| launch_template::id_not_found(template_id))?.undeletable = versions.to_vec();
            Ok(())
        })
    }
}
