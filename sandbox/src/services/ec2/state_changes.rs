//! What StartInstances, StopInstances and TerminateInstances have in common.

use super::call::{DryRun, Ec2Call};
use super::instance_xml::{self, StateChange};
use crate::error::ApiError;
use crate::protocol::params::missing;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{Instance, InstanceState};
use crate::state::ec2::world::World;
use crate::state::throttle::{BucketSize, Charge};

/// The instances that a call names, and pays for by their number.
pub(super) struct Named<'a> {
    ids: Vec<&'a str>,
    dry_run: DryRun,
}

impl<'a> Named<'a> {
    /// To be called when all other parameters were read.
    pub(super) fn read(call: &'a Ec2Call<'_>) -> Result<Self, ApiError> {
        let ids = call.root().list("InstanceId");
        let dry_run = call.finish()?;
        if ids.is_empty() { Err(missing("InstanceId")) } else { Ok(Self { ids, dry_run }) }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Changes all of them by `change`, which gives the state before, if `check` finds nothing wrong with any.
    pub(super) fn change(
        self,
        call: &Ec2Call<'_>,
        (operation, bucket, size): (&'static str, &'static str, BucketSize),
        check: impl FnOnce(&World, &[Instance]) -> Result<(), ApiError>,
        change: impl Fn(&mut World, u64) -> Option<InstanceState>,
    ) -> Result<Xml, ApiError> {
        let tokens = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        call.charge(operation, Charge { bucket, size, tokens })?;
        let (account, region) = (&call.caller.id.account, &call.caller.region);
        call.with(|world| {
            let estate = world.estate(account, region, call.now);
            // One bad id fails the whole call.
            let mut sequences = estate.sequences_of(&self.ids)?;
            sequences.sort_unstable();
            sequences.dedup();
            let named: Vec<_> = sequences.iter().filter_map(|one| estate.instances.get(one)).cloned().collect();
            check(world, &named)?;
            self.dry_run.end()?;
            let mut changes = Vec::new();
            for sequence in sequences {
                let before = change(world, sequence);
                if let (Some(before), Some(instance)) = (before, world.instance_mut(account, region, sequence)) {
                    changes.push(StateChange { id: instance.id.clone(), before, after: instance.state });
                }
            }
            let mut xml = Xml::default();
            instance_xml::changes(&mut xml, changes);
            Ok(xml)
        })
    }
}
