from harness import eventually, refused, same, sandbox_only, scenario, tags


def template(world, name="base", **data):
    data = {"ImageId": world.image(), "InstanceType": "t3.micro"} | data
    return world.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]


def version(world, **data):
    """One more of the template `base`; gives its number."""
    made = world.ec2.create_launch_template_version(
        LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData=data or {"InstanceType": "t3.small"}
    )
    return str(made["LaunchTemplateVersion"]["VersionNumber"])


def create(world, desired=2, name="web", **arguments):
    """A group over the template `base`, settled."""
    if "MixedInstancesPolicy" not in arguments and "LaunchTemplate" not in arguments:
        arguments["LaunchTemplate"] = {"LaunchTemplateName": "base", "Version": "1"}
    arguments = {
        "AutoScalingGroupName": name, "MinSize": 0, "MaxSize": 10, "DesiredCapacity": desired,
        "VPCZoneIdentifier": ",".join(subnet["SubnetId"] for subnet in world.subnets()),
    } | arguments
    world.autoscaling.create_auto_scaling_group(**arguments)
    world.settle()


def described(world, name="web"):
    return world.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]


def serving(world, name="web"):
    """The ids of the instances in service."""
    return {one["InstanceId"] for one in described(world, name)["Instances"] if one["LifecycleState"] == "InService"}


@scenario
def a_group_launches_what_it_desires(world):
    made = template(world)
    create(world, 3, Tags=[
        {"Key": "app", "Value": "web", "PropagateAtLaunch": True}, {"Key": "own", "Value": "x", "PropagateAtLaunch": False},
    ])
    group = described(world)
    same((group["MinSize"], group["MaxSize"], group["DesiredCapacity"]), (0, 10, 3))
    same(group["LaunchTemplate"]["LaunchTemplateId"], made["LaunchTemplateId"])
    same(group["LaunchTemplate"]["Version"], "1")
    assert group["AutoScalingGroupARN"].endswith(":autoScalingGroupName/web"), group["AutoScalingGroupARN"]
    same(len(group["AvailabilityZones"]), 3)
    same([one["LifecycleState"] for one in group["Instances"]], ["InService"] * 3)
    same({one["HealthStatus"] for one in group["Instances"]}, {"Healthy"})
    same({one["LaunchTemplate"]["Version"] for one in group["Instances"]}, {"1"})
    same({tag["Key"]: tag["PropagateAtLaunch"] for tag in group["Tags"]}, {"app": True, "own": False})
    found = world.found_by(("tag:aws:autoscaling:groupName", ["web"]), ("tag:app", ["web"]))
    same(found, serving(world))
    same(world.found_by(("tag:own", ["x"])), set())


@scenario
def instances_spread_over_zones_and_tell_their_template(world):
    made = template(world)
    create(world, 3)
    instances = world.describe()
    same(len({instance["Placement"]["AvailabilityZone"] for instance in instances}), 3)
    own = {tag["Key"]: tag["Value"] for tag in instances[0]["Tags"]}
    same(own["aws:ec2launchtemplate:id"], made["LaunchTemplateId"])
    same(own["aws:ec2launchtemplate:version"], "1")


@scenario
def aliases_are_kept_and_instances_show_numbers(world):
    template(world)
    version(world)
    create(world, 1, LaunchTemplate={"LaunchTemplateName": "base", "Version": "$Latest"})
    create(world, 1, "other", LaunchTemplate={"LaunchTemplateName": "base"})
    same(described(world)["LaunchTemplate"]["Version"], "$Latest")
    same(described(world)["Instances"][0]["LaunchTemplate"]["Version"], "2")
    same(described(world, "other")["Instances"][0]["LaunchTemplate"]["Version"], "1")


@scenario
def groups_are_made_once(world):
    template(world)
    create(world, 0)
    with refused("AlreadyExists", 400):
        create(world, 0)


@scenario
def a_group_says_what_it_launches_and_where(world):
    template(world)
    group = {"AutoScalingGroupName": "web", "MinSize": 0, "MaxSize": 1}
    base = {"LaunchTemplateName": "base", "Version": "1"}
    zone = {"AvailabilityZones": ["eu-west-1a"]}
    create = world.autoscaling.create_auto_scaling_group
    with refused("ValidationError", 400, "Valid requests must contain either LaunchTemplate"):
        create(**group, **zone)
    with refused("ValidationError", 400, "At least one Availability Zone or VPC Subnet is required."):
        create(**group, LaunchTemplate=base)


@scenario
def a_group_names_what_is_there(world):
    made = template(world)
    group = {"AutoScalingGroupName": "web", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-west-1a"]}
    create = world.autoscaling.create_auto_scaling_group
    with refused("ValidationError", 400, "You must use a valid fully-formed launch template."):
        create(**group, LaunchTemplate={"LaunchTemplateName": "nothing"})
    with refused("ValidationError", 400, "You must use a valid fully-formed launch template."):
        create(**group, LaunchTemplate={"LaunchTemplateName": "base", "Version": "7"})
    with refused("ValidationError", 400, "either launchTemplateId or LaunchTemplateName"):
        create(**group, LaunchTemplate={"LaunchTemplateName": "base", "LaunchTemplateId": made["LaunchTemplateId"]})
    with refused("ValidationError", 400):
        create(**group | {"AvailabilityZones": ["eu-west-1x"]}, LaunchTemplate={"LaunchTemplateName": "base"})


@scenario
def sizes_are_checked(world):
    template(world)
    for sizes in ({"MinSize": 3, "MaxSize": 2}, {"MinSize": 1, "MaxSize": 2, "DesiredCapacity": 3}):
        with refused("ValidationError", 400):
            create(world, **{"desired": sizes.get("DesiredCapacity", 3)} | sizes)


@scenario
def unknown_groups_are_not_found(world):
    autoscaling = world.autoscaling
    same(autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"], [])
    with refused("ValidationError", 400, "AutoScalingGroup name not found"):
        autoscaling.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=3)
    with refused("ValidationError", 400, "AutoScalingGroup name not found"):
        autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    with refused("ValidationError", 400, "AutoScalingGroup name not found"):
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName="web")


@scenario
def a_group_scales_out_and_in(world):
    template(world)
    create(world, 2)
    before = serving(world)
    world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    world.settle()
    same(len(serving(world)), 4)
    assert before < serving(world)
    world.autoscaling.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=1)
    world.settle()
    same(described(world)["DesiredCapacity"], 1)
    same(len(serving(world)), 1)
    world.autoscaling.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=2, MaxSize=5)
    world.settle()
    same(described(world)["DesiredCapacity"], 2)
    same(len(serving(world)), 2)


@scenario
def a_desired_capacity_keeps_to_the_sizes(world):
    template(world)
    create(world, 1, MinSize=1, MaxSize=2)
    for desired, message in ((3, "above max value 2"), (0, "below min value 1")):
        with refused("ValidationError", 400, message):
            world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=desired)


@scenario
def another_version_is_for_new_instances(world):
    template(world)
    create(world, 1)
    before = serving(world)
    number = version(world)
    world.autoscaling.update_auto_scaling_group(
        AutoScalingGroupName="web", DesiredCapacity=2, LaunchTemplate={"LaunchTemplateName": "base", "Version": number}
    )
    world.settle()
    versions = {one["InstanceId"]: one["LaunchTemplate"]["Version"] for one in described(world)["Instances"]}
    same(sorted(versions.values()), ["1", number])
    same(versions[before.pop()], "1")
    with refused("ValidationError", 400):
        world.autoscaling.update_auto_scaling_group(
            AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "base", "Version": "99"}
        )


def mixed(*overrides, **distribution):
    policy = {"LaunchTemplate": {
        "LaunchTemplateSpecification": {"LaunchTemplateName": "base", "Version": "1"}, "Overrides": list(overrides),
    }}
    return policy | ({"InstancesDistribution": distribution} if distribution else {})


@scenario
def a_mixed_policy_is_given_back(world):
    template(world)
    other = template(world, "arm", ImageId=world.image("arm64"), InstanceType="t4g.micro")
    create(world, 0, MixedInstancesPolicy=mixed(
        {"InstanceType": "t3.small", "WeightedCapacity": "1"},
        {"InstanceType": "t4g.small", "LaunchTemplateSpecification": {"LaunchTemplateName": "arm", "Version": "$Latest"}},
        OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=50, SpotAllocationStrategy="capacity-optimized",
    ))
    group = described(world)
    assert "LaunchTemplate" not in group, group
    policy = group["MixedInstancesPolicy"]
    same(policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"], "1")
    assert policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"].startswith("lt-")
    overrides = policy["LaunchTemplate"]["Overrides"]
    same([one["InstanceType"] for one in overrides], ["t3.small", "t4g.small"])
    same(overrides[0]["WeightedCapacity"], "1")
    same(overrides[1]["LaunchTemplateSpecification"], {
        "LaunchTemplateId": other["LaunchTemplateId"], "LaunchTemplateName": "arm", "Version": "$Latest",
    })
    same(policy["InstancesDistribution"]["OnDemandBaseCapacity"], 1)
    same(policy["InstancesDistribution"]["SpotAllocationStrategy"], "capacity-optimized")


@sandbox_only
def a_mixed_policy_launches_its_parts(world):
    template(world)
    template(world, "arm", ImageId=world.image("arm64"), InstanceType="t4g.micro")
    create(world, 4, MixedInstancesPolicy=mixed(
        {"InstanceType": "t4g.small", "LaunchTemplateSpecification": {"LaunchTemplateName": "arm"}},
        OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=0,
    ))
    instances = world.describe()
    same({one["InstanceType"] for one in instances}, {"t4g.small"})
    same(sorted(one.get("InstanceLifecycle", "on-demand") for one in instances), ["on-demand", "spot", "spot", "spot"])


@sandbox_only
def an_override_may_have_an_image(world):
    template(world)
    spec = {"owner": world.account, "region": "eu-west-1", "name": "mine"}
    image = world.control("POST", "images", spec)["id"]
    create(world, 1, MixedInstancesPolicy=mixed({"InstanceType": "t3.small", "ImageId": image}))
    same(described(world)["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"][0]["ImageId"], image)
    same(described(world)["Instances"][0]["ImageId"], image)
    same(world.describe()[0]["ImageId"], image)


@sandbox_only
def a_launch_configuration_is_told_apart(world):
    zone = {"AvailabilityZones": ["eu-west-1a"]}
    world.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="old", MinSize=1, MaxSize=1, LaunchConfigurationName="old-1", **zone
    )
    world.settle()
    group = described(world, "old")
    same(group["LaunchConfigurationName"], "old-1")
    assert "LaunchTemplate" not in group, group
    same(group["Instances"][0]["LaunchConfigurationName"], "old-1")
    template(world)
    with refused("ValidationError", 400):
        create(world, 1, "both", LaunchConfigurationName="old-1")


@scenario
def groups_are_found_by_name_and_tag(world):
    template(world)
    for name in ("one", "two", "three"):
        create(world, 0, name, Tags=[{"Key": "tier", "Value": name, "PropagateAtLaunch": False}])
    world.autoscaling.create_or_update_tags(Tags=[{
        "ResourceId": "one", "ResourceType": "auto-scaling-group", "Key": "app", "Value": "web", "PropagateAtLaunch": True,
    }])
    describe = world.autoscaling.describe_auto_scaling_groups
    for arguments, wanted in (
        ({}, {"one", "two", "three"}),
        ({"AutoScalingGroupNames": ["one", "nothing"]}, {"one"}),
        ({"Filters": [{"Name": "tag:tier", "Values": ["one", "two"]}]}, {"one", "two"}),
        ({"Filters": [{"Name": "tag-key", "Values": ["app"]}]}, {"one"}),
        ({"Filters": [{"Name": "tag-value", "Values": ["three", "web"]}]}, {"one", "three"}),
        ({"Filters": [{"Name": "tag-key", "Values": ["tier"]}, {"Name": "tag:app", "Values": ["web"]}]}, {"one"}),
    ):
        same({group["AutoScalingGroupName"] for group in describe(**arguments)["AutoScalingGroups"]}, wanted)


@scenario
def unknown_group_filters_are_refused(world):
    with refused("ValidationError", 400, "Allowed Filter types are"):
        world.autoscaling.describe_auto_scaling_groups(Filters=[{"Name": "colour", "Values": ["red"]}])


@scenario
def tags_of_groups_come_and_go(world):
    template(world)
    create(world, 0)
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": "app", "PropagateAtLaunch": True}
    world.autoscaling.create_or_update_tags(Tags=[tag | {"Value": "a"}])
    world.autoscaling.create_or_update_tags(Tags=[tag | {"Value": "b"}])
    same([(one["Key"], one["Value"]) for one in described(world)["Tags"]], [("app", "b")])
    world.autoscaling.delete_tags(Tags=[tag])
    same(described(world).get("Tags", []), [])


@sandbox_only
def tags_of_groups_are_checked(world):
    template(world)
    create(world, 0)
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Value": "v", "PropagateAtLaunch": True}
    for wrong in ({"Key": "aws:x"}, {"Key": "k", "ResourceType": "instance"}, {"Key": "k", "ResourceId": "nothing"}):
        with refused("ValidationError", 400):
            world.autoscaling.create_or_update_tags(Tags=[tag | wrong])


@scenario
def groups_have_pages(world):
    template(world)
    for index in range(5):
        create(world, 0, f"web-{index}")
    pages = world.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 2})
    names = [[group["AutoScalingGroupName"] for group in page["AutoScalingGroups"]] for page in pages]
    same(sorted(len(page) for page in names if page), [1, 2, 2])
    same({name for page in names for name in page}, {f"web-{index}" for index in range(5)})


@sandbox_only
def pages_of_groups_are_bounded(world):
    template(world)
    for index in range(51):
        create(world, 0, f"web-{index:02}")
    describe = world.autoscaling.describe_auto_scaling_groups
    first = describe()
    same(len(first["AutoScalingGroups"]), 50)
    same([one["AutoScalingGroupName"] for one in describe(NextToken=first["NextToken"])["AutoScalingGroups"]], ["web-50"])
    same(len(describe(MaxRecords=100)["AutoScalingGroups"]), 51)
    with refused("ValidationError", 400):
        describe(MaxRecords=101)
    with refused("InvalidNextToken", 400):
        describe(NextToken="nonsense!")


@scenario
def what_ends_is_replaced(world):
    template(world)
    create(world, 2)
    gone = sorted(serving(world))[0]
    world.ec2.terminate_instances(InstanceIds=[gone])

    def replaced():
        world.settle()
        assert gone not in serving(world)
        same(len(serving(world)), 2)

    eventually(replaced)


@sandbox_only
def what_stops_or_fails_its_checks_is_replaced(world):
    template(world)
    create(world, 3)
    stopped, impaired, _ = sorted(serving(world))
    world.ec2.stop_instances(InstanceIds=[stopped])
    world.control("PUT", f"instances/{impaired}/health", {"instance": "impaired"})
    world.settle()
    world.settle()
    now = serving(world)
    same(len(now), 3)
    assert not {stopped, impaired} & now, now


@scenario
def a_group_with_instances_is_not_deleted(world):
    template(world)
    create(world, 1)
    with refused("ResourceInUse", 400):
        world.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="web")


@scenario
def a_group_is_deleted_by_force(world):
    template(world)
    create(world, 1)
    world.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    world.settle()
    same(world.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"], [])
    same([one["State"]["Name"] for one in world.describe()], ["terminated"])
    create(world, 0)


@sandbox_only
def a_group_that_is_deleted_says_so(world):
    template(world)
    create(world, 1)
    world.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    same(described(world)["Status"], "Delete in progress")
    with refused("ScalingActivityInProgress", 400):
        world.autoscaling.update_auto_scaling_group(AutoScalingGroupName="web", MaxSize=3)


@scenario
def processes_are_suspended_and_resumed(world):
    template(world)
    create(world, 0)
    world.autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch", "InstanceRefresh"])
    same({one["ProcessName"] for one in described(world)["SuspendedProcesses"]}, {"Launch", "InstanceRefresh"})
    world.autoscaling.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    same([one["ProcessName"] for one in described(world)["SuspendedProcesses"]], ["InstanceRefresh"])


@sandbox_only
def a_suspended_process_does_nothing(world):
    template(world)
    create(world, 2)
    autoscaling = world.autoscaling
    autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    world.settle()
    same(len(serving(world)), 2)
    autoscaling.suspend_processes(AutoScalingGroupName="web")
    same(len(described(world)["SuspendedProcesses"]), 9)
    autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    world.settle()
    same(len(serving(world)), 2)
    autoscaling.resume_processes(AutoScalingGroupName="web")
    world.settle()
    same(len(serving(world)), 1)
    with refused("ValidationError", 400):
        autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Lunch"])


@scenario
def an_instance_stands_by(world):
    template(world)
    create(world, 2)
    one = sorted(serving(world))[0]
    activities = world.autoscaling.enter_standby(
        AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=True
    )["Activities"]
    same(len(activities), 1)
    states = {each["InstanceId"]: each["LifecycleState"] for each in described(world)["Instances"]}
    same((states[one], described(world)["DesiredCapacity"]), ("Standby", 1))
    world.autoscaling.exit_standby(AutoScalingGroupName="web", InstanceIds=[one])
    world.settle()
    same((len(serving(world)), described(world)["DesiredCapacity"]), (2, 2))


@scenario
def protected_instances_stay(world):
    template(world)
    create(world, 2)
    kept = sorted(serving(world))[0]
    world.autoscaling.set_instance_protection(AutoScalingGroupName="web", InstanceIds=[kept], ProtectedFromScaleIn=True)
    same([one["ProtectedFromScaleIn"] for one in described(world)["Instances"] if one["InstanceId"] == kept], [True])
    world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    world.settle()
    same(serving(world), {kept})


@scenario
def an_instance_is_ended_with_its_place(world):
    template(world)
    create(world, 2)
    one, other = sorted(serving(world))
    terminate = world.autoscaling.terminate_instance_in_auto_scaling_group
    terminate(InstanceId=one, ShouldDecrementDesiredCapacity=True)
    world.settle()
    same((serving(world), described(world)["DesiredCapacity"]), ({other}, 1))
    terminate(InstanceId=other, ShouldDecrementDesiredCapacity=False)
    world.settle()
    same(len(serving(world) - {other}), 1)
    with refused("ValidationError", 400):
        terminate(InstanceId="i-0123456789abcdef0", ShouldDecrementDesiredCapacity=False)


@sandbox_only
def a_launch_that_fails_is_told_and_tried_again(world):
    template(world)
    image = world.image()
    world.control("PUT", f"images/eu-west-1/{image}/launch-failure", {"code": "InternalError", "message": "No luck."})
    try:
        with refused("ValidationError", 400, "No luck."):
            create(world, 1)
    finally:
        world.control("DELETE", f"images/eu-west-1/{image}/launch-failure")
    spec = {"owner": world.account, "region": "eu-west-1", "name": "mine"}
    mine = world.control("POST", "images", spec)["id"]
    number = version(world, ImageId=mine)
    create(world, 0, LaunchTemplate={"LaunchTemplateName": "base", "Version": number})
    world.control("DELETE", f"images/eu-west-1/{mine}")
    world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    activity = world.autoscaling.describe_scaling_activities(AutoScalingGroupName="web")["Activities"][0]
    same(activity["StatusCode"], "Failed")
    assert mine in activity["StatusMessage"], activity
    world.autoscaling.update_auto_scaling_group(
        AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "base", "Version": "1"}
    )
    world.step(31)
    world.settle()
    same(len(serving(world)), 1)


@sandbox_only
def a_group_that_never_launches_is_suspended(world):
    template(world)
    create(world, 0)
    world.control("PUT", f"accounts/{world.account}/eu-west-1/key-pairs/mine")
    number = version(world, KeyName="mine")
    world.autoscaling.update_auto_scaling_group(
        AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "base", "Version": number}
    )
    world.control("DELETE", f"accounts/{world.account}/eu-west-1/key-pairs/mine")
    world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    world.step(25 * 3600)
    same([one["ProcessName"] for one in described(world)["SuspendedProcesses"]], ["Launch"])


@sandbox_only
def only_its_operator_changes_a_group(world):
    template(world)
    create(world, 0)
    path = f"groups/{world.account}/eu-west-1/web"
    world.control("PUT", f"{path}/operator", "eks.amazonaws.com")
    with refused("ValidationError", 400, "eks.amazonaws.com"):
        world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    same(world.control("GET", path)["operator"], "eks.amazonaws.com")


@sandbox_only
def rights_are_checked_for_groups(world):
    template(world)
    create(world, 0)
    arn = world.control("PUT", "roles", {
        "account": world.account, "name": "muster", "allowedPrincipals": ["*"],
        "deniedActions": ["autoscaling:StartInstanceRefresh", "ec2:RunInstances"],
    })
    credentials = world.sts.assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    role = world.client("autoscaling", key=credentials["AccessKeyId"], token=credentials["SessionToken"])
    role.describe_auto_scaling_groups()
    with refused("AccessDenied", 403, ":autoScalingGroup:*:autoScalingGroupName/web with an explicit deny"):
        role.start_instance_refresh(AutoScalingGroupName="web")
    with refused("AccessDenied", 403, "You are not authorized to use launch template: lt-"):
        role.update_auto_scaling_group(AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "base"})


@sandbox_only
def calls_of_groups_are_written_down_and_fail_on_request(world):
    template(world)
    create(world, 0)
    same(world.calls("CreateAutoScalingGroup", "autoscaling")[0]["parameters"]["AutoScalingGroupName"], "web")
    world.fault("DescribeAutoScalingGroups", {"error": {"code": "ResourceContention"}}, "autoscaling")
    with refused("ResourceContention", 500):
        described(world)
    described(world)


@sandbox_only
def groups_and_templates_can_be_added(world):
    place = {"account": world.account, "region": "eu-west-1"}
    spec = place | {"name": "base", "data": {"ImageId": world.image(), "InstanceType": "t3.micro"}, "tags": {"a": "b"}}
    made = world.control("POST", "launch-templates", spec)
    sizes = {"min": 0, "max": 3, "desired": 2}
    world.control("POST", "groups", place | sizes | {"name": "web", "launchTemplate": made, "tags": {"app": "web"}})
    world.settle()
    same(described(world)["LaunchTemplate"]["LaunchTemplateId"], made)
    same(len(serving(world)), 2)
    shown = world.control("GET", f"groups/{world.account}/eu-west-1")
    same([(group["name"], len(group["members"])) for group in shown], [("web", 2)])
    same(world.found_by(("tag:app", ["web"])), serving(world))
    same(world.ec2.describe_launch_templates()["LaunchTemplates"][0]["Tags"], tags({"a": "b"}))
