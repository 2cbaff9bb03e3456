//! The launch parameters that a template's version keeps: those of RunInstances that the sandbox knows, by their names
//! in a request.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{FIELDS, Field, Kind};
use crate::error::ApiError;
use crate::protocol::params::{Params, Scope};
use crate::protocol::xml::Xml;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TemplateData(BTreeMap<String, String>);

impl TemplateData {
    /// Reads a structure `LaunchTemplateData`. EC2 looks at the kinds of its values only: what they name is looked up at
    /// each launch.
    pub(crate) fn read(scope: &Scope<'_>) -> Result<Self, ApiError> {
        let mut data = BTreeMap::new();
        read(scope, FIELDS, "", &mut data)?;
        Ok(Self(data))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at a name such as `MetadataOptions.HttpTokens`.
    pub(crate) fn get(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub(crate) fn with(mut self, name: &str, value: String) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// A version made on this one: a parameter that is given anew takes the old one's place, whole. Snapshots of volumes
    /// that are not given anew are left out, as EC2 does.
    pub(crate) fn replaced_by(&self, newer: &Self) -> Self {
        let given: BTreeSet<&str> = newer.0.keys().map(|name| parameter(name)).collect();
        let is_snapshot = |name: &str| parameter(name) == "BlockDeviceMapping" && name.ends_with(".Ebs.SnapshotId");
        let kept = self.0.iter().filter(|(name, _)| !given.contains(parameter(name)) && !is_snapshot(name));
        Self(kept.chain(&newer.0).map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// A launch's parameters: those of the request, and of the template where the request has none. Volumes add up by
    /// device name, interfaces by device index, tags by resource type and key, metadata options one by one.
    pub(crate) fn under(&self, request: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut merged = request.clone();
        let mut given: BTreeSet<&str> = request.keys().map(|name| parameter(name)).collect();
        if given.contains("SecurityGroupId") || given.contains("SecurityGroup") {
            given.extend(["SecurityGroupId", "SecurityGroup"]);
        }
        for (name, value) in &self.0 {
            let parameter = parameter(name);
            if !given.contains(parameter) || parameter == "MetadataOptions" {
                merged.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        for (list, key) in [("BlockDeviceMapping", "DeviceName"), ("NetworkInterface", "DeviceIndex")] {
            let asked = items(request, list);
            let mut all = items(&self.0, list);
            all.retain(|item| !asked.iter().any(|asked| asked.get(key) == item.get(key)));
            all.extend(asked);
            put(&mut merged, list, all);
        }
        let tags = merge_tags(items(&self.0, TAGS), items(request, TAGS));
        put(&mut merged, TAGS, tags);
        merged
    }

    pub(crate) fn write(&self, xml: &mut Xml) {
        let params = Params::new(&self.0);
        xml.element("launchTemplateData", |xml| write(xml, &params.root(), FIELDS));
    }
}

const TAGS: &str = "TagSpecification";

type Item = BTreeMap<String, String>;

/// `BlockDeviceMapping` of `BlockDeviceMapping.1.Ebs.VolumeSize`.
fn parameter(name: &str) -> &str {
    name.split_once('.').map_or(name, |(first, _)| first)
}

/// The structures of a list, each with the names below it.
fn items(all: &BTreeMap<String, String>, list: &str) -> Vec<Item> {
    let mut found: BTreeMap<u32, Item> = BTreeMap::new();
    for (name, value) in all {
        let below =
            name.strip_prefix(list).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.split_once('.'));
        let Some((index, field)) = below else { continue };
        if let Ok(index) = index.parse() {
            found.entry(index).or_default().insert(field.to_owned(), value.clone());
        }
    }
    found.into_values().collect()
}

/// Puts a list in the place of the one that is there.
fn put(all: &mut BTreeMap<String, String>, list: &str, items: Vec<Item>) {
    all.retain(|name, _| parameter(name) != list);
    for (index, item) in items.into_iter().enumerate() {
        all.extend(item.into_iter().map(|(field, value)| (format!("{list}.{}.{field}", index + 1), value)));
    }
}

fn merge_tags(of_template: Vec<Item>, of_request: Vec<Item>) -> Vec<Item> {
    // What the request says wrong, e.g. a type or a key twice, stays for its reader to refuse.
    let mut merged = of_request;
    for older in of_template {
        let same = merged.iter_mut().find(|newer| newer.get("ResourceType") == older.get("ResourceType"));
        let Some(newer) = same else {
            merged.push(older);
            continue;
        };
        let asked = items(newer, "Tag");
        let mut tags = items(&older, "Tag");
        tags.retain(|tag| !asked.iter().any(|asked| asked.get("Key") == tag.get("Key")));
        tags.extend(asked);
        put(newer, "Tag", tags);
    }
    merged
}

fn read(scope: &Scope<'_>, fields: &[Field], below: &str, into: &mut BTreeMap<String, String>) -> Result<(), ApiError> {
    for Field { name, kind } in fields {
        let path = format!("{below}{name}");
        match kind {
            Kind::Text => {
                into.extend(scope.text(name).map(|value| (path, value.to_owned())));
            }
            Kind::Boolean => {
                into.extend(scope.boolean(name)?.map(|value| (path, value.to_string())));
            }
            Kind::Integer => {
                into.extend(scope.integer::<i64>(name)?.map(|value| (path, value.to_string())));
            }
            Kind::Structure(fields) => {
                if let Some(child) = scope.child(name) {
                    read(&child, fields, &format!("{path}."), into)?;
                }
            }
            Kind::Texts { .. } => {
                let values = scope.list(name).into_iter().enumerate();
                into.extend(values.map(|(index, value)| (format!("{path}.{}", index + 1), value.to_owned())));
            }
            Kind::Structures { fields, .. } => {
                for (index, item) in scope.items(name).iter().enumerate() {
                    read(item, fields, &format!("{path}.{}.", index + 1), into)?;
                }
            }
        }
    }
    Ok(())
}

fn write(xml: &mut Xml, scope: &Scope<'_>, fields: &[Field]) {
    for Field { name, kind } in fields {
        match kind {
            Kind::Text | Kind::Boolean | Kind::Integer => xml.option(&small(name), scope.text(name)),
            Kind::Structure(fields) => {
                if let Some(child) = scope.child(name) {
                    xml.element(&small(name), |xml| write(xml, &child, fields));
                }
            }
            Kind::Texts { set, item } => {
                let values = scope.list(name);
                if !values.is_empty() {
                    xml.element(set, |xml| values.iter().for_each(|value| xml.text(item, value)));
                }
            }
            Kind::Structures { set, fields } => {
                let items = scope.items(name);
                if !items.is_empty() {
                    xml.list(set, items, |xml, item| write(xml, &item, fields));
                }
            }
        }
    }
}

fn small(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn data(pairs: &[(&str, &str)]) -> TemplateData {
        let params = Params::new(&map(pairs));
        let data = TemplateData::read(&params.root()).expect("launch parameters");
        params.finish().expect("all of them known");
        data
    }

    #[test]
    fn a_request_goes_before_its_template() {
        let template = data(&[
            ("ImageId", "ami-1"),
            ("InstanceType", "t3.micro"),
            ("SecurityGroup.1", "old"),
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "2"),
            ("IamInstanceProfile.Name", "old"),
        ]);
        let merged = template.under(&map(&[
            ("InstanceType", "m5.large"),
            ("SecurityGroupId.1", "sg-1"),
            ("MetadataOptions.HttpPutResponseHopLimit", "3"),
            ("IamInstanceProfile.Arn", "new"),
            ("MinCount", "1"),
        ]));
        assert_eq!(
            merged,
            map(&[
                ("IamInstanceProfile.Arn", "new"),
                ("ImageId", "ami-1"),
                ("InstanceType", "m5.large"),
                ("MetadataOptions.HttpPutResponseHopLimit", "3"),
                ("MetadataOptions.HttpTokens", "required"),
                ("MinCount", "1"),
                ("SecurityGroupId.1", "sg-1"),
            ])
        );
    }

    #[test]
    fn volumes_add_up_by_device_and_tags_by_type_and_key() {
        let template = data(&[
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
            ("BlockDeviceMapping.3.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.3.Ebs.VolumeSize", "10"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("TagSpecification.1.Tag.1.Value", "template"),
            ("TagSpecification.1.Tag.2.Key", "b"),
            ("TagSpecification.1.Tag.2.Value", "template"),
            ("TagSpecification.2.ResourceType", "volume"),
            ("TagSpecification.2.Tag.1.Key", "v"),
        ]);
        let merged = template.under(&map(&[
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "b"),
            ("TagSpecification.1.Tag.1.Value", "request"),
        ]));
        assert_eq!(
            merged,
            map(&[
                ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
                ("BlockDeviceMapping.1.Ebs.VolumeSize", "10"),
                ("BlockDeviceMapping.2.DeviceName", "/dev/xvda"),
                ("BlockDeviceMapping.2.Ebs.VolumeSize", "20"),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "a"),
                ("TagSpecification.1.Tag.1.Value", "template"),
                ("TagSpecification.1.Tag.2.Key", "b"),
                ("TagSpecification.1.Tag.2.Value", "request"),
                ("TagSpecification.2.ResourceType", "volume"),
                ("TagSpecification.2.Tag.1.Key", "v"),
            ])
        );
    }

    #[test]
    fn a_new_version_replaces_parameters_whole() {
        let source = data(&[
            ("ImageId", "ami-1"),
            ("SecurityGroupId.1", "sg-1"),
            ("SecurityGroupId.2", "sg-2"),
            ("MetadataOptions.HttpTokens", "required"),
        ]);
        let newer = data(&[("SecurityGroupId.1", "sg-3"), ("MetadataOptions.HttpEndpoint", "enabled")]);
        let wanted =
            data(&[("ImageId", "ami-1"), ("SecurityGroupId.1", "sg-3"), ("MetadataOptions.HttpEndpoint", "enabled")]);
        assert_eq!(source.replaced_by(&newer), wanted);
    }
}
