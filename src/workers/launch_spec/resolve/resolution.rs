//! The resolution of a template.

use std::collections::BTreeMap;

use crate::{
    aws::ec2::InterfaceRow,
    crd::template::{Placement, WorkerTemplate},
    ids::{ImageId, InstanceType, InvalidId, LaunchTemplateId, SecurityGroupId, SubnetId, Zone},
    workers::plan::pools::Places,
};

/// What a template resolves to in one account and region, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub image: Image,
    pub base: Option<Base>,
    pub instance_types: Vec<InstanceType>,
    pub subnets: Vec<SubnetId>,
    /// The zones of the subnets, as far as they are already known.
    pub zones: BTreeMap<SubnetId, Zone>,
    pub security_groups: Vec<SecurityGroupId>,
    /// The user data of the template, not that of the launch template.
    pub user_data: Option<String>,
}

/// An AMI as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    /// Its owner deprecated it. It can still be launched.
    pub deprecated: bool,
}

/// A version of a launch template that requests override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub id: LaunchTemplateId,
    pub version: i64,
    /// Its first network interface, if it has any.
    pub interface: Option<InterfaceRow>,
    /// Whether it has user data. The text is not read: it may hold secrets.
    pub has_user_data: bool,
}

impl Resolution {
    /// The resolution of a template that names everything by id.
    pub fn of_ids(template: &WorkerTemplate) -> Result<Self, InvalidId> {
        let id = template.ami.as_ref().and_then(|ami| ami.id.as_deref()).unwrap_or_default();
        let groups = template.security_groups.as_ref().map_or(&[][..], |groups| &groups.ids);
        Ok(Self {
            image: Image { id: ImageId::try_from(id)?, name: None, deprecated: false },
            base: None,
            instance_types: distinct(&template.instance_types)?,
            subnets: distinct(template.subnets.as_ref().map_or(&[][..], |subnets| &subnets.ids))?,
            zones: BTreeMap::new(),
            security_groups: distinct(groups)?,
            user_data: template.user_data.as_ref().and_then(|data| data.inline.clone()),
        })
    }

    /// The pools to launch in.
    pub fn places(&self, placement: Option<Placement>) -> Places {
        // With one subnet there is nothing to spread over, and its zone is not needed.
        let placement = if self.subnets.len() == 1 { Placement::Ordered } else { placement.unwrap_or_default() };
        Places { instance_types: self.instance_types.clone(), subnets: self.subnets.clone(), placement }
    }
}

/// Parses the texts and removes duplicates, in the order given.
pub(super) fn distinct<'a, T>(texts: &'a [String]) -> Result<Vec<T>, InvalidId>
where
    T: PartialEq + TryFrom<&'a str, Error = InvalidId>,
{
    let mut parsed: Vec<T> = Vec::new();
    for text in texts {
        let value = T::try_from(text)?;
        if !parsed.contains(&value) {
            parsed.push(value);
        }
    }
    Ok(parsed)
}
