//! Tests of the grants.

use serde_json::{Value, json};

use super::*;
use crate::crd::aws_account::LabelGrant;

fn grant(names: &[&str], kinds: &[&str]) -> Grant {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Grant {
        namespaces: NamespaceGrant { names: owned(names), selector: None },
        kinds: owned(kinds),
        instance_profiles: vec!["worker".into()],
        launch_templates: vec!["web".into()],
        parameter_paths: vec!["/app".into()],
        ..Grant::default()
    }
}

fn namespace(name: &str) -> Namespace<'_> {
    Namespace { name, labels: BTreeMap::from([("team".into(), "ml".into())]) }
}

#[test]
fn without_a_grant_no_namespace_has_access() {
    let refused = check(&[], "WorkerFleet", &namespace("ml"), &[]).unwrap_err();
    assert!(refused.contains("{namespaces: {names: [ml]}, kinds: [WorkerFleet]}"), "{refused}");
}

#[test]
fn namespace_and_kind_must_both_be_named() {
    let grants = [grant(&["ml"], &["WorkerFleet"])];
    assert!(check(&grants, "WorkerFleet", &namespace("ml"), &[]).is_ok());
    assert!(check(&grants, "FleetReport", &namespace("ml"), &[]).is_err());
    assert!(check(&grants, "WorkerFleet", &namespace("web"), &[]).is_err());
    assert!(check(&[grant(&["*"], &["*"])], "FleetReport", &namespace("web"), &[]).is_ok());
}

#[test]
fn every_resource_that_is_used_must_be_granted() {
    let grants = [grant(&["ml"], &["*"])];
    let profile = |name: &str| [Claim::InstanceProfile(name.into())];
    assert!(check(&grants, "WorkerFleet", &namespace("ml"), &profile("worker")).is_ok());
    let refused = check(&grants, "WorkerFleet", &namespace("ml"), &profile("admin")).unwrap_err();
    assert!(refused.contains("instance profile admin"), "{refused}");
    assert!(refused.contains("instanceProfiles: [admin]"), "{refused}");
    let based_on = |name: &str| [Claim::LaunchTemplate(name.into())];
    assert!(check(&grants, "WorkerFleet", &namespace("ml"), &based_on("web")).is_ok());
    let refused = check(&grants, "WorkerFleet", &namespace("ml"), &based_on("db")).unwrap_err();
    assert!(refused.contains("launchTemplates: [db]"), "{refused}");
}

#[test]
fn a_path_grants_all_paths_below_it() {
    let grants = [grant(&["ml"], &["*"])];
    let checked = |path: &str| check(&grants, "WorkerFleet", &namespace("ml"), &[Claim::ParameterPath(path.into())]);
    assert!(checked("/app").is_ok() && checked("/app/prod").is_ok());
    assert!(checked("/application").is_err());
    let refused = checked("/").unwrap_err();
    assert!(refused.contains("does not grant parameter path / to namespace ml"), "{refused}");
    assert!(refused.contains("parameterPaths: [/]"), "{refused}");
}

#[test]
fn claims_are_not_granted_across_namespaces() {
    let web = Grant { key_names: vec!["*".into()], ..grant(&["web"], &["*"]) };
    let grants = [grant(&["ml"], &["*"]), web];
    let claims = [Claim::KeyName("ops".into())];
    assert!(check(&grants, "WorkerFleet", &namespace("ml"), &claims).is_err());
    assert!(check(&grants, "WorkerFleet", &namespace("web"), &claims).is_ok());
}

#[test]
fn labels_select_namespaces_and_an_empty_selector_selects_none() {
    let by_label = |labels: &[(&str, &str)]| {
        let match_labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let namespaces = NamespaceGrant { names: vec![], selector: Some(LabelGrant { match_labels }) };
        [Grant { namespaces, ..grant(&[], &["*"]) }]
    };
    assert!(check(&by_label(&[("team", "ml")]), "WorkerFleet", &namespace("any"), &[]).is_ok());
    assert!(check(&by_label(&[("team", "web")]), "WorkerFleet", &namespace("any"), &[]).is_err());
    assert!(check(&by_label(&[]), "WorkerFleet", &namespace("any"), &[]).is_err());
}

/// Grants everything in its lists to the namespace `ml`.
fn listing(lists: Value) -> [Grant; 1] {
    let mut grant = lists;
    grant["namespaces"] = json!({"names": ["ml"]});
    grant["kinds"] = json!(["*"]);
    [serde_json::from_value(grant).unwrap()]
}

#[test]
fn a_template_claims_all_that_it_names_and_a_refusal_says_the_line_to_add() {
    let template = serde_json::from_value(json!({
        "ami": {"id": "ami-00000001"}, "launchTemplate": {"name": "web"}, "instanceProfile": "worker", "keyName": "ops",
        "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]}, "securityGroups": {"ids": ["sg-00000001"]},
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": true, "kmsKeyID": "alias/x"}}],
    }));
    let claims: Vec<_> = Claim::of_template(&template.unwrap()).collect();
    let all = json!({
        "launchTemplates": ["web"], "instanceProfiles": ["worker"], "keyNames": ["ops"],
        "subnets": ["subnet-0000000a", "subnet-0000000b"], "securityGroups": ["sg-00000001"], "kmsKeys": ["alias/x"],
    });
    let checked = |lists: &Value| check(&listing(lists.clone()), "WorkerFleet", &namespace("ml"), &claims);
    assert_eq!(checked(&all), Ok(()));
    for (list, what, line) in [
        ("launchTemplates", "launch template web", "launchTemplates: [web]"),
        ("instanceProfiles", "instance profile worker", "instanceProfiles: [worker]"),
        ("keyNames", "key pair ops", "keyNames: [ops]"),
        ("subnets", "subnet subnet-0000000a", "subnets: [subnet-0000000a]"),
        ("securityGroups", "security group sg-00000001", "securityGroups: [sg-00000001]"),
        ("kmsKeys", "KMS key alias/x", "kmsKeys: [alias/x]"),
    ] {
        let mut without = all.clone();
        without.as_object_mut().unwrap().remove(list);
        let refused = checked(&without).unwrap_err();
        assert!(refused.contains(&format!("does not grant {what} to namespace ml")), "{refused}");
        assert!(refused.ends_with(&format!(" of the grant for WorkerFleet: {line}")), "{refused}");
        without[list] = json!(["*"]);
        assert_eq!(checked(&without), Ok(()), "{list}");
    }
}

#[test]
fn a_bucket_is_granted_by_name_prefix_and_use() {
    let ml = json!([{"name": "b", "prefix": "ml/", "uses": ["Reports", "Results"]}]);
    let any = json!([{"name": "*", "uses": ["Parameters"]}]);
    let folder = |folder, used_for| Claim::folder("b", folder, used_for);
    let keys = |prefix: &str| Claim::Bucket { name: "b".into(), prefix: prefix.into(), used_for: BucketUse::Reports };
    for (buckets, claim, line) in [
        (&ml, keys("ml/"), None),
        (&ml, keys("ml/prod"), None),
        (&ml, folder(Some("ml"), BucketUse::Results), None),
        (&ml, folder(Some("ml/nightly"), BucketUse::Results), None),
        (&any, folder(None, BucketUse::Parameters), None),
        (&ml, keys("ml"), Some("buckets: [{name: b, uses: [Reports]}]")),
        (&ml, keys(""), Some("buckets: [{name: b, uses: [Reports]}]")),
        (&ml, keys("web/x"), Some("buckets: [{name: b, prefix: web/, uses: [Reports]}]")),
        (&any, keys("ml/"), Some("buckets: [{name: b, prefix: ml/, uses: [Reports]}]")),
        (&ml, folder(Some("mlx"), BucketUse::Results), Some("buckets: [{name: b, prefix: mlx/, uses: [Results]}]")),
        (&ml, folder(Some("ml"), BucketUse::Parameters), Some("buckets: [{name: b, prefix: ml/, uses: [Parameters]}]")),
        (&ml, folder(None, BucketUse::Results), Some("buckets: [{name: b, uses: [Results]}]")),
    ] {
        let grants = listing(json!({"buckets": buckets}));
        let checked = check(&grants, "WorkerJob", &namespace("ml"), std::slice::from_ref(&claim));
        match line {
            None => assert_eq!(checked, Ok(()), "{claim:?}"),
            Some(line) => assert!(checked.as_ref().unwrap_err().ends_with(line), "{claim:?}: {checked:?}"),
        }
    }
}

#[test]
fn a_launch_template_is_granted_by_its_name_or_its_id() {
    let id = |id: &str| LaunchTemplateId::try_from(id).unwrap();
    let resolved = || Claim::ResolvedTemplate { id: id("lt-00000001"), name: Some("web".into()) };
    let unnamed = || Claim::ResolvedTemplate { id: id("lt-00000001"), name: None };
    let named = |reference: &str| Claim::LaunchTemplate(reference.into());
    for (granted, claim, expected) in [
        ("web", resolved(), true),
        ("lt-00000001", resolved(), true),
        ("*", resolved(), true),
        ("db", resolved(), false),
        ("lt-00000002", resolved(), false),
        ("web", unnamed(), false),
        ("lt-00000001", unnamed(), true),
        ("web", named("web"), true),
        ("db", named("web"), false),
        ("lt-00000002", named("lt-00000001"), false),
        // Only the resolved launch template shows whether it is this one.
        ("lt-00000001", named("web"), true),
        ("web", named("lt-00000001"), true),
    ] {
        let grants = listing(json!({"launchTemplates": [granted]}));
        let checked = check(&grants, "WorkerFleet", &namespace("ml"), std::slice::from_ref(&claim));
        assert_eq!(checked.is_ok(), expected, "{granted} {claim:?}");
    }
}

#[test]
fn a_refusal_of_what_tags_select_says_how_many_and_not_which() {
    let [grant] = listing(json!({"subnets": ["subnet-0000000a"], "securityGroups": ["sg-00000001"]}));
    let spec =
        AwsAccountSpec { role_arn: None, external_id: None, regions: vec![], grants: vec![grant], suspend: false };
    let permits = Permits { account: "default", spec: Arc::new(spec), kind: "WorkerFleet", namespace: namespace("ml") };
    let subnets = |ids: &[&str]| ids.iter().map(|id| Claim::Subnet((*id).into())).collect::<Vec<_>>();
    assert_eq!(permits.check_found(Found::Subnets, &subnets(&["subnet-0000000a"])), Ok(()));
    let found = subnets(&["subnet-0000000a", "subnet-0000000b", "subnet-0000000c"]);
    let refused = permits.check_found(Found::Subnets, &found).unwrap_err();
    assert!(refused.contains("selects 3 subnets, and AwsAccount default does not grant 2 of them"), "{refused}");
    assert!(refused.ends_with("subnets: [<id>]") && !refused.contains("subnet-0"), "{refused}");
    let refused = permits.check_found(Found::SecurityGroups, &[Claim::SecurityGroup("sg-00000002".into())]);
    assert!(refused.unwrap_err().ends_with("securityGroups: [<id>]"));
}

#[test]
fn the_owner_of_a_bucket_is_that_of_the_most_specific_grant() {
    let [grant] = listing(json!({"buckets": [
        {"name": "*", "accountID": "111111111111", "uses": ["Reports"]},
        {"name": "b", "accountID": "222222222222", "uses": ["Reports", "Results"]},
        {"name": "b", "accountID": "333333333333", "prefix": "ml/", "uses": ["Reports"]},
        {"name": "own", "uses": ["Reports"]},
    ]}));
    let (role_arn, external_id, regions, suspend) = (None, None, vec![], false);
    let spec = AwsAccountSpec { role_arn, external_id, regions, grants: vec![grant], suspend };
    let permits = Permits { account: "default", spec: Arc::new(spec), kind: "FleetReport", namespace: namespace("ml") };
    for (bucket, folder, used_for, owner) in [
        ("another", None, BucketUse::Reports, Some("111111111111")),
        ("b", None, BucketUse::Reports, Some("222222222222")),
        ("b", Some("ml"), BucketUse::Reports, Some("333333333333")),
        ("b", Some("ml"), BucketUse::Results, Some("222222222222")),
        ("own", None, BucketUse::Reports, None),
        ("b", None, BucketUse::Parameters, None),
    ] {
        let found = permits.bucket_owner(&Claim::folder(bucket, folder, used_for));
        assert_eq!(found.as_ref().map(AccountId::as_str), owner, "{bucket} {folder:?} {used_for}");
    }
}

#[test]
fn a_forgotten_slash_does_not_lead_to_a_grant_of_the_whole_bucket() {
    let grant: Grant = serde_json::from_value(json!({
        "namespaces": {"names": ["ml"]}, "kinds": ["FleetReport"],
        "buckets": [{"name": "shared", "prefix": "ml/", "uses": ["Reports"]}],
    }))
    .unwrap();
    let refused = |prefix: &str| {
        let claim = Claim::Bucket { name: "shared".into(), prefix: prefix.into(), used_for: BucketUse::Reports };
        check(std::slice::from_ref(&grant), "FleetReport", &Namespace { name: "ml", ..Namespace::default() }, &[claim])
            .unwrap_err()
    };
    for prefix in ["", "m", "ml"] {
        let refused = refused(prefix);
        assert!(refused.contains("use the granted prefix ml/, or, for the whole bucket, add it"), "{refused}");
    }
    assert!(refused("web").contains("name a prefix that ends in a slash or, for the whole bucket, add it"));
    assert!(refused("web/").ends_with(
        "; add it to buckets of the grant for FleetReport: buckets: [{name: shared, \
                                       prefix: web/, uses: [Reports]}]"
    ));
}
