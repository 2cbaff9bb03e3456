//! Whether what a launch sends is granted.
//!
//! A stored revision and a recorded intent grant nothing by themselves: somebody who may write the status or
//! ControllerRevisions can forge them, and the grants may have changed since.

use crate::{
    access::{Claim, Permits},
    aws::{
        Class, Error, Session,
        ec2::TemplateRow,
        ec2::launch_request::{LaunchRequest, Network},
    },
    crd::{launches::LaunchIntent, template::LaunchTemplate},
    inventory::ownership::Owner,
    reconcile::context::Context,
};

/// Checks what `intent` and `request` send. `Err` inside names what is not granted.
///
/// # Errors
/// EC2 did not show the launch template that the request is based on, for a reason that passes.
pub async fn check(
    ctx: &Context,
    (session, owner): (&Session, &Owner),
    permits: &Permits<'_>,
    intent: &LaunchIntent,
    request: &LaunchRequest,
) -> Result<Result<(), String>, Error> {
    if let Err(forged) = is_of(owner, intent, request) {
        return Ok(Err(forged));
    }
    let claims = Claim::of_launch(intent, request);
    let Err(ungranted) = permits.check(&claims) else { return Ok(Ok(())) };
    let Some(id) = &request.launch_template_id else { return Ok(Err(ungranted)) };
    // A grant may name the launch template by its name, and includes what the launch template contains.
    let version = intent.launch_template_version.map(|version| version.to_string());
    let wanted = LaunchTemplate { id: Some(id.to_string()), version, ..LaunchTemplate::default() };
    match ctx.lookups.inquire(session, None).launch_template(&wanted).await {
        Ok(row) => Ok(permits.check(&over(&row, claims))),
        Err(error) => match error.class {
            Class::Throttled | Class::Transient => Err(error),
            Class::Denied | Class::NotFound | Class::InvalidInput | Class::NoCapacity | Class::Conflict => {
                Ok(Err(ungranted))
            }
        },
    }
}

/// Checks that the launch is in the name of `owner`, so that its instances never count as workers of another object, and
/// that it sends the subnet or the launch template that is checked.
fn is_of(owner: &Owner, intent: &LaunchIntent, request: &LaunchRequest) -> Result<(), String> {
    let tagged = |(key, value): (&String, &String)| request.tags.get(key) == Some(value);
    if !intent.token.belongs_to(&owner.uid) || !owner.tags(&intent.role, &intent.revision).iter().all(tagged) {
        return Err("its tags or its client token name another object than this one".into());
    }
    match (&request.launch_template_id, intent.launch_template_version, request.network) {
        (Some(_), Some(_), _) | (None, None, Network::Arguments | Network::Interface) => Ok(()),
        (None, None, Network::LaunchTemplate) => Err("it names neither a subnet nor a launch template".into()),
        (Some(_), None, _) | (None, Some(_), _) => Err("it names a launch template incompletely".into()),
    }
}

/// `claims` without what the launch template contains, and with its name.
fn over(row: &TemplateRow, claims: Vec<Claim>) -> Vec<Claim> {
    let interface = row.interface.clone().unwrap_or_default();
    let mut contained: Vec<_> = interface.subnet.iter().map(|id| Claim::Subnet(id.to_string())).collect();
    contained.extend(interface.security_groups.iter().map(|id| Claim::SecurityGroup(id.to_string())));
    let mut claims: Vec<_> = claims.into_iter().filter(|claim| !contained.contains(claim)).collect();
    for claim in &mut claims {
        if let Claim::ResolvedTemplate { id, name } = claim
            && *id == row.id
        {
            name.clone_from(&row.name);
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        access::grants::Namespace,
        aws::ec2::InterfaceRow,
        ids::{ClientToken, LaunchTemplateId, SecurityGroupId, SubnetId, Uid},
        workers::launch_spec::sample::{UID, revision},
    };

    fn permits(lists: Value) -> Permits<'static> {
        let mut grant = lists;
        grant["namespaces"] = json!({"names": ["ns"]});
        grant["kinds"] = json!(["WorkerFleet"]);
        let spec = serde_json::from_value(json!({"regions": ["eu-west-1"], "grants": [grant]})).unwrap();
        let namespace = Namespace { name: "ns", ..Namespace::default() };
        Permits { account: "default", spec: Arc::new(spec), kind: "WorkerFleet", namespace }
    }

    fn intent(subnet: &str) -> LaunchIntent {
        let token = ClientToken::new(&Uid::try_from(UID).unwrap(), 7);
        LaunchIntent { subnet: SubnetId::try_from(subnet).unwrap(), ..LaunchIntent::sample(token, 1) }
    }

    #[test]
    fn all_that_a_stored_request_and_its_intent_send_must_be_granted() {
        let fields = json!({
            "instanceProfile": "worker", "keyName": "ops", "securityGroups": {"ids": ["sg-00000001"]},
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": true, "kmsKeyID": "alias/x"}}],
        });
        let request = revision(fields).content.request;
        let all = json!({"instanceProfiles": ["worker"], "keyNames": ["ops"], "securityGroups": ["sg-00000001"],
            "kmsKeys": ["alias/x"], "subnets": ["subnet-0000000a"]});
        let checked =
            |lists: &Value, subnet: &str| permits(lists.clone()).check(&Claim::of_launch(&intent(subnet), &request));
        assert_eq!(checked(&all, "subnet-0000000a"), Ok(()));
        assert!(checked(&all, "subnet-0000000b").unwrap_err().ends_with("subnets: [subnet-0000000b]"));
        for list in all.as_object().unwrap().keys() {
            let mut without = all.clone();
            without[list] = json!(["another"]);
            let refused = checked(&without, "subnet-0000000a").unwrap_err();
            assert!(refused.contains(&format!("{list}: [")), "{list}: {refused}");
        }
    }

    #[test]
    fn a_granted_launch_template_includes_its_subnet_and_groups_and_no_others() {
        let id = LaunchTemplateId::try_from("lt-00000001").unwrap();
        let group = |id: &str| SecurityGroupId::try_from(id).unwrap();
        let row = TemplateRow {
            id: id.clone(),
            name: Some("web".into()),
            version: 1,
            image: None,
            instance_type: None,
            interface: Some(InterfaceRow {
                subnet: Some(SubnetId::try_from("subnet-0000000a").unwrap()),
                security_groups: vec![group("sg-00000001")],
                public: None,
            }),
            zone: None,
            spot: false,
            has_user_data: false,
        };
        let mut request = revision(json!({})).content.request;
        request.launch_template_id = Some(id);
        request.security_groups = vec![group("sg-00000001")];
        let mut with_another = request.clone();
        with_another.security_groups.push(group("sg-00000002"));
        for (templates, request, subnet, granted) in [
            (json!(["web"]), &request, "subnet-0000000a", true),
            (json!(["lt-00000001"]), &request, "subnet-0000000a", true),
            (json!(["other", "lt-00000002"]), &request, "subnet-0000000a", false),
            (json!(["web"]), &request, "subnet-0000000b", false),
            (json!(["web"]), &with_another, "subnet-0000000a", false),
        ] {
            let claims = over(&row, Claim::of_launch(&intent(subnet), request));
            let checked = permits(json!({"launchTemplates": templates})).check(&claims);
            assert_eq!(checked.is_ok(), granted, "{templates} {subnet}: {checked:?}");
        }
    }

    #[test]
    fn a_launch_must_be_of_its_owner_and_send_what_is_checked() {
        let owner = Owner::sample(UID);
        let launch = || {
            let mut request = revision(json!({})).content.request;
            let intent = intent("subnet-0000000a");
            request.tags = owner.tags(&intent.role, &intent.revision);
            (intent, request)
        };
        let checked = |change: &dyn Fn(&mut LaunchIntent, &mut LaunchRequest)| {
            let (mut intent, mut request) = launch();
            change(&mut intent, &mut request);
            is_of(&owner, &intent, &request).is_ok()
        };
        let template = || Some(LaunchTemplateId::try_from("lt-00000001").unwrap());
        assert!(checked(&|_, _| {}));
        assert!(checked(&|intent, request| {
            (request.launch_template_id, request.network) = (template(), Network::LaunchTemplate);
            intent.launch_template_version = Some(1);
        }));
        for tag in owner.tags(&launch().0.role, "web-1").keys() {
            assert!(!checked(&|_, request| drop(request.tags.insert(tag.clone(), "another".into()))), "{tag}");
        }
        let another = Uid::try_from(crate::workers::launch_spec::sample::ANOTHER).unwrap();
        assert!(!checked(&|intent, _| intent.token = ClientToken::new(&another, 7)));
        assert!(!checked(&|_, request| request.network = Network::LaunchTemplate));
        assert!(!checked(&|_, request| request.launch_template_id = template()));
        assert!(!checked(&|intent, _| intent.launch_template_version = Some(1)));
    }
}
