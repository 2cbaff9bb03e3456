//! DescribeImageReferences

use std::collections::BTreeMap;

use super::call::{Ec2Call, Operation};
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid, missing};
use crate::protocol::xml::Xml;
use crate::state::ec2::estate::Estate;
use crate::state::ec2::ids;
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeImageReferences", requests: NON_MUTATING, run };

const MAX_IMAGES: usize = 10;
/// How many versions of a template are looked at, the newest first, where the request does not say.
const VERSIONS: usize = 20;
const INSTANCE: &str = "ec2:Instance";
const TEMPLATE: &str = "ec2:LaunchTemplate";
const PARAMETER: &str = "ssm:Parameter";
/// Those of Image Builder, which the sandbox has not, are never found.
const TYPES: &[&str] = &[INSTANCE, TEMPLATE, PARAMETER, "imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe"];

/// What is to be looked through.
struct Wanted<'a> {
    images: Vec<&'a str>,
    /// With the states that instances must have; none for all.
    types: BTreeMap<&'a str, Vec<&'a str>>,
    versions: usize,
}

struct Reference {
    image: String,
    kind: &'static str,
    arn: String,
}

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let wanted = Wanted::read(&root)?;
    let page = Page::read(&root)?;
    let dry_run = call.finish()?;
    dry_run.end()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    let mut found = call.with(|world| wanted.find(world.estate(account, region, call.now)));
    if wanted.types.contains_key(PARAMETER) {
        call.state.ssm.with(account, region, |store| {
            for parameter in store.own.values() {
                let Some(latest) = parameter.latest() else { continue };
                wanted.add(&mut found, &latest.value, PARAMETER, || {
                    let name = parameter.name.trim_start_matches('/');
                    format!("arn:aws:ssm:{region}:{account}:parameter/{name}")
                });
            }
        });
    }
    found.sort_by(|one, other| (&one.image, one.kind, &one.arn).cmp(&(&other.image, other.kind, &other.arn)));
    let keyed = found.into_iter().map(|one| (format!("{}/{}/{}", one.image, one.kind, one.arn), one));
    let (rows, next) = page.cut(keyed);
    let mut xml = Xml::default();
    xml.list("imageReferenceSet", rows, |xml, Reference { image, kind, arn }| {
        xml.text("imageId", image);
        xml.text("resourceType", kind);
        xml.text("arn", arn);
    });
    xml.option("nextToken", next);
    Ok(xml)
}

impl<'a> Wanted<'a> {
    fn read(root: &Scope<'a>) -> Result<Self, ApiError> {
        let images = root.list("ImageId");
        if images.is_empty() {
            return Err(missing("ImageId"));
        }
        if images.len() > MAX_IMAGES {
            return Err(invalid(format!("At most {MAX_IMAGES} images can be described at a time.")));
        }
        images.iter().try_for_each(|id| ids::check_image_id(id))?;
        let all = root.boolean("IncludeAllResourceTypes")?.unwrap_or(false);
        let asked = root.items("ResourceType");
        if all != asked.is_empty() {
            return Err(ApiError::new(
                "InvalidParameterCombination",
                "Either IncludeAllResourceTypes or ResourceTypes must be specified.",
            ));
        }
        let mut wanted = Self { images, types: BTreeMap::new(), versions: VERSIONS };
        if all {
            wanted.types.extend(TYPES.iter().map(|kind| (*kind, Vec::new())));
        }
        for scope in asked {
            let kind = scope.required("ResourceType")?;
            if !TYPES.contains(&kind) {
                return Err(invalid(format!("Invalid value '{kind}' for ResourceType.")));
            }
            let mut states = Vec::new();
            for option in scope.items("ResourceTypeOption") {
                let values = option.list("OptionValue");
                match (kind, option.required("OptionName")?) {
                    (INSTANCE, "state-name") => states = values,
                    (TEMPLATE, "version-depth") => {
                        let depth = values.first().and_then(|depth| depth.parse().ok());
                        wanted.versions = depth.ok_or_else(|| invalid("Invalid value for version-depth."))?;
                    }
                    (_, name) => return Err(invalid(format!("The option {name} does not apply to {kind}."))),
                }
            }
            wanted.types.insert(kind, states);
        }
        Ok(wanted)
    }

    fn find(&self, estate: &Estate) -> Vec<Reference> {
        let mut found = Vec::new();
        if let Some(states) = self.types.get(INSTANCE) {
            for instance in estate.instances.values().filter(|instance| !instance.vanished) {
                if states.is_empty() || states.contains(&instance.state.name()) {
                    self.add(&mut found, &instance.image_id, INSTANCE, || instance.arn());
                }
            }
        }
        if self.types.contains_key(TEMPLATE) {
            for template in estate.launch_templates.by_id.values() {
                let mut images: Vec<_> = template.versions.values().rev().take(self.versions).collect();
                images.sort_by_key(|version| version.data.get("ImageId"));
                images.dedup_by_key(|version| version.data.get("ImageId"));
                for image in images.into_iter().filter_map(|version| version.data.get("ImageId")) {
                    self.add(&mut found, image, TEMPLATE, || {
                        format!("arn:aws:ec2:{}:{}:launch-template/{}", estate.region, estate.account, template.id)
                    });
                }
            }
        }
        found
    }

    fn add(&self, found: &mut Vec<Reference>, image: &str, kind: &'static str, arn: impl FnOnce() -> String) {
        if self.images.contains(&image) {
            found.push(Reference { image: image.to_owned(), kind, arn: arn() });
        }
    }
}
