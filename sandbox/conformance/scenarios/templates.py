from harness import ids, refused, same, sandbox_only, scenario, tagged, tags


def create(world, name="base", **data):
    data = {"ImageId": world.image(), "InstanceType": "t3.micro"} | data
    return world.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]


def launch(world, version=None, **arguments):
    template = {"LaunchTemplateName": "base"} | ({} if version is None else {"Version": version})
    return world.ec2.run_instances(**{"LaunchTemplate": template, "MinCount": 1, "MaxCount": 1} | arguments)["Instances"]


def versions(world, *names, **arguments):
    if names:
        arguments["Versions"] = list(names)
    found = world.ec2.describe_launch_template_versions(LaunchTemplateName="base", **arguments)["LaunchTemplateVersions"]
    return [version["VersionNumber"] for version in found]


def tags_of(instance):
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


@scenario
def a_template_starts_with_version_one(world):
    made = world.ec2.create_launch_template(
        LaunchTemplateName="base",
        VersionDescription="the first",
        LaunchTemplateData={"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro"},
        TagSpecifications=tagged("launch-template", team="core"),
    )["LaunchTemplate"]
    assert made["LaunchTemplateId"].startswith("lt-")
    same((made["DefaultVersionNumber"], made["LatestVersionNumber"]), (1, 1))
    found = world.ec2.describe_launch_templates(LaunchTemplateNames=["base"])["LaunchTemplates"]
    same([template["LaunchTemplateId"] for template in found], [made["LaunchTemplateId"]])
    same(found[0]["Tags"], tags({"team": "core"}))
    version = world.ec2.describe_launch_template_versions(LaunchTemplateId=made["LaunchTemplateId"])
    version = version["LaunchTemplateVersions"][0]
    same(version["VersionDescription"], "the first")
    same(version["DefaultVersion"], True)
    same(version["LaunchTemplateData"]["ImageId"], "ami-0123456789abcdef0")


@scenario
def every_launch_parameter_is_kept(world):
    data = {
        "EbsOptimized": True,
        "IamInstanceProfile": {"Name": "worker"},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True, "Iops": 3000}},
            {"DeviceName": "/dev/sdf", "NoDevice": ""},
        ],
        "NetworkInterfaces": [{
            "DeviceIndex": 0, "SubnetId": "subnet-0123456789abcdef0", "Groups": ["sg-0123456789abcdef0"],
            "AssociatePublicIpAddress": False,
        }],
        "ImageId": world.image(),
        "InstanceType": "t3.micro",
        "KeyName": "ops",
        "Monitoring": {"Enabled": True},
        "Placement": {"AvailabilityZone": "eu-west-1a"},
        "DisableApiTermination": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": "ZWNobyBoaQ==",
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags({"a": "1", "b": ""})}],
        "SecurityGroupIds": ["sg-0123456789abcdef0", "sg-0123456789abcdef1"],
        "SecurityGroups": ["default"],
        "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.1", "SpotInstanceType": "one-time"}},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
    }
    world.ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData=data)
    kept = world.ec2.describe_launch_template_versions(LaunchTemplateName="base")["LaunchTemplateVersions"][0]
    same(kept["LaunchTemplateData"], data)


@scenario
def template_names_are_taken_once(world):
    create(world)
    with refused("InvalidLaunchTemplateName.AlreadyExistsException", 400):
        create(world)


@scenario
def template_names_are_checked(world):
    for name in ("two words", "n" * 129):
        with refused("InvalidLaunchTemplateName.MalformedException", 400):
            create(world, name)


@scenario
def a_template_needs_data(world):
    with refused("MissingParameter", 400, "LaunchTemplateData"):
        world.ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData={})


@scenario
def unknown_templates_are_not_found(world):
    unknown = "lt-0123456789abcdef0"
    with refused("InvalidLaunchTemplateName.NotFoundException", 400):
        world.ec2.describe_launch_template_versions(LaunchTemplateName="nothing")
    with refused("InvalidLaunchTemplateId.NotFound", 400):
        world.ec2.describe_launch_template_versions(LaunchTemplateId=unknown)
    with refused("InvalidLaunchTemplateId.NotFound", 400):
        world.ec2.describe_launch_templates(LaunchTemplateIds=[unknown])
    with refused("InvalidLaunchTemplateName.NotFoundException", 400):
        world.ec2.delete_launch_template(LaunchTemplateName="nothing")
    with refused("InvalidLaunchTemplateId.Malformed", 400):
        world.ec2.describe_launch_template_versions(LaunchTemplateId="nonsense")


@scenario
def a_template_is_named_once(world):
    made = create(world)
    with refused("InvalidParameterCombination", 400):
        world.ec2.modify_launch_template(
            LaunchTemplateId=made["LaunchTemplateId"], LaunchTemplateName="base", DefaultVersion="1"
        )


@scenario
def a_repeated_template_request_makes_one(world):
    data = {"ImageId": world.image()}
    once = {"LaunchTemplateName": "base", "LaunchTemplateData": data, "ClientToken": "t"}
    first = world.ec2.create_launch_template(**once)["LaunchTemplate"]["LaunchTemplateId"]
    same(world.ec2.create_launch_template(**once)["LaunchTemplate"]["LaunchTemplateId"], first)
    with refused("IdempotentParameterMismatch", 400):
        world.ec2.create_launch_template(**once | {"LaunchTemplateName": "other"})


@scenario
def a_repeated_version_request_makes_one(world):
    create(world)
    once = {"LaunchTemplateName": "base", "LaunchTemplateData": {"InstanceType": "t3.small"}, "ClientToken": "t"}
    for _ in range(2):
        same(world.ec2.create_launch_template_version(**once)["LaunchTemplateVersion"]["VersionNumber"], 2)
    with refused("IdempotentParameterMismatch", 400):
        world.ec2.create_launch_template_version(**once | {"VersionDescription": "other"})
    same(versions(world), [2, 1])


@scenario
def a_version_is_based_on_its_source(world):
    create(world, SecurityGroupIds=["sg-0123456789abcdef0", "sg-0123456789abcdef1"], KeyName="ops")
    made = world.ec2.create_launch_template_version(
        LaunchTemplateName="base",
        SourceVersion="1",
        LaunchTemplateData={"InstanceType": "t3.small", "SecurityGroupIds": ["sg-0123456789abcdef2"]},
    )["LaunchTemplateVersion"]
    same(made["DefaultVersion"], False)
    same(made["LaunchTemplateData"], {
        "ImageId": world.image(), "InstanceType": "t3.small", "KeyName": "ops", "SecurityGroupIds": ["sg-0123456789abcdef2"],
    })
    with refused("InvalidLaunchTemplateId.VersionNotFound", 400):
        world.ec2.create_launch_template_version(
            LaunchTemplateName="base", SourceVersion="7", LaunchTemplateData={"KeyName": "ops"}
        )


@scenario
def a_version_without_a_source_has_its_own_data_only(world):
    create(world)
    made = world.ec2.create_launch_template_version(LaunchTemplateName="base", LaunchTemplateData={"KeyName": "ops"})
    same(made["LaunchTemplateVersion"]["LaunchTemplateData"], {"KeyName": "ops"})


def four_versions(world):
    create(world)
    for kind in ("t3.small", "t3.medium", "t3.large"):
        world.ec2.create_launch_template_version(
            LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"InstanceType": kind}
        )
    return world.ec2.modify_launch_template(LaunchTemplateName="base", DefaultVersion="2")["LaunchTemplate"]


@scenario
def versions_are_found_by_number_and_alias(world):
    template = four_versions(world)
    same((template["DefaultVersionNumber"], template["LatestVersionNumber"]), (2, 4))
    same(versions(world, "$Latest"), [4])
    same(versions(world, "$Default"), [2])
    same(sorted(versions(world, "1", "3")), [1, 3])
    with refused("InvalidLaunchTemplateId.VersionNotFound", 400):
        versions(world, "9")
    with refused("InvalidParameterValue", 400):
        versions(world, "newest")


@scenario
def a_missing_version_cannot_be_the_default(world):
    create(world)
    with refused("InvalidLaunchTemplateId.VersionNotFound", 400):
        world.ec2.modify_launch_template(LaunchTemplateName="base", DefaultVersion="2")


@scenario
def versions_are_found_by_range(world):
    four_versions(world)
    same(versions(world, MinVersion="2", MaxVersion="3"), [3, 2])
    same(versions(world, MinVersion="3"), [4, 3])
    same(versions(world, MaxVersion="1"), [1])


@scenario
def aliases_are_found_in_all_templates(world):
    create(world, "one")
    create(world, "two")
    found = world.ec2.describe_launch_template_versions(Versions=["$Latest"])["LaunchTemplateVersions"]
    same(sorted(version["LaunchTemplateName"] for version in found), ["one", "two"])
    with refused("InvalidParameterValue", 400):
        world.ec2.describe_launch_template_versions(Versions=["1"])
    with refused("MissingParameter", 400):
        world.ec2.describe_launch_template_versions()


@scenario
def template_pages_are_complete(world):
    four_versions(world)
    pages = world.ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateName="base", PaginationConfig={"PageSize": 1}
    )
    numbers = [[version["VersionNumber"] for version in page["LaunchTemplateVersions"]] for page in pages]
    same([page for page in numbers if page], [[4], [3], [2], [1]])
    for name in ("two", "three"):
        create(world, name)
    pages = world.ec2.get_paginator("describe_launch_templates").paginate(PaginationConfig={"PageSize": 2})
    names = [[template["LaunchTemplateName"] for template in page["LaunchTemplates"]] for page in pages]
    same([len(page) for page in names if page], [2, 1])
    same({name for page in names for name in page}, {"base", "two", "three"})


@scenario
def template_pages_have_bounds(world):
    create(world)
    with refused("InvalidParameterValue", 400):
        world.ec2.describe_launch_templates(MaxResults=201)


@scenario
def templates_are_found_by_filters(world):
    made = create(world, "one")
    create(world, "two")
    world.ec2.create_tags(Resources=[made["LaunchTemplateId"]], Tags=tags({"team": "core"}))
    for name, value in (("launch-template-name", "one"), ("tag:team", "core"), ("tag-key", "team")):
        found = world.ec2.describe_launch_templates(Filters=[{"Name": name, "Values": [value]}])["LaunchTemplates"]
        same([template["LaunchTemplateName"] for template in found], ["one"])


@scenario
def versions_are_deleted_one_by_one(world):
    four_versions(world)
    done = world.ec2.delete_launch_template_versions(LaunchTemplateName="base", Versions=["2", "3", "9"])
    same([version["VersionNumber"] for version in done["SuccessfullyDeletedLaunchTemplateVersions"]], [3])
    kept = {
        version["VersionNumber"]: version["ResponseError"]["Code"]
        for version in done["UnsuccessfullyDeletedLaunchTemplateVersions"]
    }
    same(kept, {2: "unexpectedError", 9: "launchTemplateVersionDoesNotExist"})
    same(versions(world), [4, 2, 1])
    # Numbers are not given twice.
    world.ec2.delete_launch_template_versions(LaunchTemplateName="base", Versions=["4"])
    same(world.ec2.describe_launch_templates()["LaunchTemplates"][0]["LatestVersionNumber"], 2)
    made = world.ec2.create_launch_template_version(LaunchTemplateName="base", LaunchTemplateData={"KeyName": "k"})
    same(made["LaunchTemplateVersion"]["VersionNumber"], 5)


@scenario
def two_hundred_versions_are_deleted_at_most(world):
    create(world)
    with refused("InvalidParameterValue", 400):
        world.ec2.delete_launch_template_versions(LaunchTemplateName="base", Versions=[str(n) for n in range(2, 203)])


@sandbox_only
def a_version_in_use_stays(world):
    template = four_versions(world)["LaunchTemplateId"]
    world.control("PUT", f"accounts/{world.account}/eu-west-1/launch-templates/{template}/undeletable", [1])
    done = world.ec2.delete_launch_template_versions(LaunchTemplateName="base", Versions=["1", "3"])
    same([version["VersionNumber"] for version in done["UnsuccessfullyDeletedLaunchTemplateVersions"]], [1])
    same(versions(world), [4, 2, 1])


@scenario
def a_deleted_template_is_gone(world):
    create(world)
    same(world.ec2.delete_launch_template(LaunchTemplateName="base")["LaunchTemplate"]["LaunchTemplateName"], "base")
    same(world.ec2.describe_launch_templates()["LaunchTemplates"], [])
    create(world)


@scenario
def a_template_is_launched(world):
    subnet = world.subnets()[1]["SubnetId"]
    made = create(world, KeyName="ops", NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}])
    instance = launch(world)[0]
    same(instance["ImageId"], world.image())
    same(instance["InstanceType"], "t3.micro")
    same(instance["KeyName"], "ops")
    same(instance["SubnetId"], subnet)
    same(tags_of(instance)["aws:ec2launchtemplate:id"], made["LaunchTemplateId"])
    same(tags_of(instance)["aws:ec2launchtemplate:version"], "1")


@scenario
def a_version_is_launched(world):
    four_versions(world)
    for version, kind in ((None, "t3.small"), ("$Default", "t3.small"), ("$Latest", "t3.large"), ("3", "t3.medium")):
        same(launch(world, version)[0]["InstanceType"], kind)


@scenario
def unknown_versions_are_not_launched(world):
    create(world)
    with refused("InvalidLaunchTemplateId.VersionNotFound", 400):
        launch(world, "9")
    with refused("InvalidLaunchTemplateName.NotFoundException", 400):
        world.ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "nothing"}, MinCount=1, MaxCount=1)


@scenario
def a_launch_overrides_its_template(world):
    create(world, TagSpecifications=tagged(a="template", b="template"), MetadataOptions={"HttpTokens": "required"})
    instance = launch(
        world,
        InstanceType="t3.small",
        TagSpecifications=tagged(b="request", c="request"),
        MetadataOptions={"HttpPutResponseHopLimit": 3},
    )[0]
    same(instance["InstanceType"], "t3.small")
    own = {key: value for key, value in tags_of(instance).items() if not key.startswith("aws:")}
    same(own, {"a": "template", "b": "request", "c": "request"})
    same(instance["MetadataOptions"]["HttpTokens"], "required")
    same(instance["MetadataOptions"]["HttpPutResponseHopLimit"], 3)


@scenario
def a_launchs_volumes_add_to_its_templates(world):
    create(world, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 10, "DeleteOnTermination": False}},
    ])
    launched = launch(world, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 20}},
    ])
    world.settle()
    devices = world.describe(InstanceIds=ids(launched))[0]["BlockDeviceMappings"]
    kept = {device["DeviceName"]: device["Ebs"]["DeleteOnTermination"] for device in devices}
    same({name: kept.get(name) for name in ("/dev/sdf", "/dev/sdg", "/dev/sdh")},
         {"/dev/sdf": False, "/dev/sdg": True, "/dev/sdh": True})


@scenario
def what_neither_template_nor_launch_says_is_missing(world):
    world.ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData={"InstanceType": "t3.micro"})
    with refused("MissingParameter", 400, "ImageId"):
        launch(world)
    launch(world, ImageId=world.image())


@scenario
def an_interface_of_a_template_excludes_subnet_and_groups(world):
    create(world, NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    subnet = world.subnets()[0]["SubnetId"]
    group = world.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    for also in ({"SubnetId": subnet}, {"SecurityGroupIds": [group]}):
        with refused("InvalidParameterCombination", 400, "Network interfaces and"):
            launch(world, **also)
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group]}
    same(launch(world, NetworkInterfaces=[interface])[0]["SubnetId"], subnet)


@scenario
def a_token_counts_for_the_request_as_sent(world):
    create(world)
    first = ids(launch(world, "$Latest", ClientToken="t"))
    world.ec2.create_launch_template_version(
        LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
    )
    same(ids(launch(world, "$Latest", ClientToken="t")), first)
    with refused("IdempotentParameterMismatch", 400):
        launch(world, "1", ClientToken="t")
    world.ec2.delete_launch_template(LaunchTemplateName="base")
    same(ids(launch(world, "$Latest", ClientToken="t")), first)


@scenario
def a_default_is_set_once_for_a_token(world):
    four_versions(world)
    once = {"LaunchTemplateName": "base", "DefaultVersion": "3", "ClientToken": "t"}
    modify = world.ec2.modify_launch_template
    same(modify(**once)["LaunchTemplate"]["DefaultVersionNumber"], 3)
    modify(LaunchTemplateName="base", DefaultVersion="1")
    # The request was carried out before: it changes nothing now.
    same(modify(**once)["LaunchTemplate"]["DefaultVersionNumber"], 1)
    with refused("IdempotentParameterMismatch", 400):
        modify(**once | {"DefaultVersion": "2"})


@scenario
def a_source_gives_no_snapshots_on(world):
    create(world, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-0123456789abcdef0", "VolumeSize": 10, "VolumeType": "gp3"}},
    ])
    make = world.ec2.create_launch_template_version
    made = make(LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"KeyName": "ops"})
    devices = made["LaunchTemplateVersion"]["LaunchTemplateData"]["BlockDeviceMappings"]
    same(devices, [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3"}}])
    named = [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]
    made = make(LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"BlockDeviceMappings": named})
    same(made["LaunchTemplateVersion"]["LaunchTemplateData"]["BlockDeviceMappings"], named)


@sandbox_only
def what_no_launch_would_take_is_warned_of(world):
    data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "KeyName": "nothing"}
    made = world.ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData=data)
    same([error["Code"] for error in made["Warning"]["Errors"]], ["InvalidAMIID.NotFound", "InvalidKeyPair.NotFound"])
    make = world.ec2.create_launch_template_version
    made = make(LaunchTemplateName="base", LaunchTemplateData={"ImageId": world.image(), "SecurityGroupIds": ["sg-1"]})
    same([error["Code"] for error in made["Warning"]["Errors"]], ["InvalidGroup.NotFound"])
    made = make(LaunchTemplateName="base", LaunchTemplateData={"ImageId": world.image(), "InstanceType": "t3.micro"})
    assert "Warning" not in made, made


@sandbox_only
def an_image_may_be_named_by_a_parameter(world):
    world.ssm.put_parameter(Name="/web/image", Value=world.image(), Type="String")
    create(world, ImageId="resolve:ssm:/web/image")
    describe = world.ec2.describe_launch_template_versions
    image = describe(LaunchTemplateName="base")["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"]
    same(image, "resolve:ssm:/web/image")
    version = describe(LaunchTemplateName="base", ResolveAlias=True)["LaunchTemplateVersions"][0]
    same(version["LaunchTemplateData"]["ImageId"], world.image())
    same(launch(world)[0]["ImageId"], world.image())
    made = world.ec2.create_launch_template_version(
        LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"KeyName": "ops"}, ResolveAlias=True
    )
    same(made["LaunchTemplateVersion"]["LaunchTemplateData"]["ImageId"], world.image())
    world.ssm.delete_parameter(Name="/web/image")
    with refused("InvalidParameterValue", 400, "/web/image"):
        launch(world)


@scenario
def versions_are_found_by_their_image(world):
    four_versions(world)
    world.ec2.create_launch_template_version(
        LaunchTemplateName="base", SourceVersion="1", LaunchTemplateData={"ImageId": "ami-0123456789abcdef0"}
    )
    same(versions(world, Filters=[{"Name": "image-id", "Values": ["ami-0123456789abcdef0"]}]), [5])
