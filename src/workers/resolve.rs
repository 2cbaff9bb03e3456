//! What the world adds to a template: ids for what it only describes.

use std::collections::BTreeMap;

use crate::{
    ids::{ImageId, InstanceType, InvalidId, SecurityGroupId, SubnetId, Zone},
    workers::{
        pools::Places,
        template::{Placement, WorkerTemplate},
    },
};

/// What a template comes to in one account and region, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub image: Image,
    pub instance_types: Vec<InstanceType>,
    pub subnets: Vec<SubnetId>,
    /// The zones of the subnets, as far as they were asked for on the way.
    pub zones: BTreeMap<SubnetId, Zone>,
    pub security_groups: Vec<SecurityGroupId>,
    /// What the worker runs at its first boot.
    pub user_data: Option<String>,
}

/// A machine image as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    /// Its owner advises against it. It can still be launched.
    pub deprecated: bool,
}

impl Resolution {
    /// What a template comes to that names all by id.
    ///
    /// # Errors
    /// For ids that the schema would have refused.
    pub fn of_ids(template: &WorkerTemplate) -> Result<Self, InvalidId> {
        let groups = template.security_groups.as_ref().map_or(&[][..], |groups| &groups.ids);
        Ok(Self {
            image: Image { id: ImageId::try_from(template.ami.id.as_str())?, name: None, deprecated: false },
            instance_types: distinct(&template.instance_types)?,
            subnets: distinct(&template.subnets.ids)?,
            zones: BTreeMap::new(),
            security_groups: distinct(groups)?,
            user_data: template.user_data.as_ref().map(|data| data.inline.clone()),
        })
    }

    /// What may be launched where.
    pub fn places(&self, placement: Option<Placement>) -> Places {
        // With one subnet there is nothing to spread over, and no need to ask for its zone.
        let placement = if self.subnets.len() == 1 { Placement::Ordered } else { placement.unwrap_or_default() };
        Places { instance_types: self.instance_types.clone(), subnets: self.subnets.clone(), placement }
    }
}

/// In the order given, each once.
fn distinct<'a, T>(texts: &'a [String]) -> Result<Vec<T>, InvalidId>
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
