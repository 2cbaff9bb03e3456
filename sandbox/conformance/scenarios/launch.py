import base64

from harness import ids, refused, same, sandbox_only, scenario, tagged, tags


@scenario
def an_instance_is_what_was_asked_for(world):
    subnet = world.subnets()[1]
    group = world.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]
    launched = world.ec2.run_instances(
        ImageId=world.image(),
        InstanceType="t3.micro",
        MinCount=2,
        MaxCount=2,
        SubnetId=subnet["SubnetId"],
        SecurityGroupIds=[group["GroupId"]],
        UserData="#!/bin/sh\necho hello",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "disabled"},
        InstanceInitiatedShutdownBehavior="terminate",
        TagSpecifications=tagged(app="core", two="words here"),
    )
    same(launched["OwnerId"], world.account)
    assert launched["ReservationId"].startswith("r-")
    same([instance["AmiLaunchIndex"] for instance in launched["Instances"]], [0, 1])
    for instance in (launched["Instances"][0], world.describe(InstanceIds=ids(launched["Instances"])[:1])[0]):
        same(instance["InstanceType"], "t3.micro")
        same(instance["SubnetId"], subnet["SubnetId"])
        same(instance["VpcId"], subnet["VpcId"])
        same(instance["Placement"]["AvailabilityZone"], subnet["AvailabilityZone"])
        same([group["GroupId"] for group in instance["SecurityGroups"]], [group["GroupId"]])
        same(instance["Architecture"], "x86_64")
        same({tag["Key"]: tag["Value"] for tag in instance["Tags"]}, {"app": "core", "two": "words here"})
        same(instance["MetadataOptions"]["HttpTokens"], "required")
        same(instance["MetadataOptions"]["HttpPutResponseHopLimit"], 2)
        same(instance["NetworkInterfaces"][0]["SubnetId"], subnet["SubnetId"])
        assert instance["PrivateIpAddress"]
        assert "InstanceLifecycle" not in instance


@scenario
def a_new_instance_is_pending(world):
    same(world.run()[0]["State"], {"Code": 0, "Name": "pending"})


@scenario
def a_profile_is_kept(world):
    if not world.is_sandbox:
        world.client("iam").create_instance_profile(InstanceProfileName="worker")
    arn = f"arn:aws:iam::{world.account}:instance-profile/worker"
    same(world.run(IamInstanceProfile={"Name": "worker"})[0]["IamInstanceProfile"]["Arn"], arn)
    same(world.run(IamInstanceProfile={"Arn": arn})[0]["IamInstanceProfile"]["Arn"], arn)


@scenario
def a_profile_is_named_once(world):
    arn = f"arn:aws:iam::{world.account}:instance-profile/worker"
    with refused("InvalidParameterCombination"):
        world.run(IamInstanceProfile={"Name": "worker", "Arn": arn})


@scenario
def unknown_profiles_are_refused(world):
    arn = f"arn:aws:iam::{world.account}:instance-profile/nobody"
    for profile, message in (
        ({"Name": "nobody"}, "Value (nobody) for parameter iamInstanceProfile.name is invalid"),
        ({"Arn": arn}, f"Value ({arn}) for parameter iamInstanceProfile.arn is invalid"),
    ):
        with refused("InvalidParameterValue", 400, message):
            world.run(IamInstanceProfile=profile)


@sandbox_only
def a_profile_is_made(world):
    profile = f"accounts/{world.account}/instance-profiles/batch"
    world.control("PUT", profile, "batch-role")
    arn = f"arn:aws:iam::{world.account}:instance-profile/team/batch"
    launched = ids(world.run(IamInstanceProfile={"Arn": arn}))[0]
    same(world.control("GET", f"instances/{launched}")["instanceRole"], "batch-role")
    world.control("DELETE", profile)
    with refused("InvalidParameterValue", 400, "Invalid IAM Instance Profile name"):
        world.run(IamInstanceProfile={"Name": "batch"})


@scenario
def unknown_keys_are_not_launched_with(world):
    with refused("InvalidKeyPair.NotFound", 400, "The key pair 'nobody' does not exist"):
        world.run(KeyName="nobody")


@sandbox_only
def a_key_is_made(world):
    world.control("PUT", f"accounts/{world.account}/eu-west-1/key-pairs/new")
    same(world.run(KeyName="new")[0]["KeyName"], "new")
    world.control("DELETE", f"accounts/{world.account}/eu-west-1/key-pairs/new")
    with refused("InvalidKeyPair.NotFound", 400):
        world.run(KeyName="new")


@scenario
def volumes_follow_the_mappings(world):
    mappings = [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 4, "VolumeType": "io2", "Iops": 100, "Encrypted": True}},
    ]
    launched = world.run(BlockDeviceMappings=mappings, TagSpecifications=tagged("volume", disk="yes"))
    world.settle()
    devices = {device["DeviceName"]: device["Ebs"] for device in world.describe(InstanceIds=ids(launched))[0]["BlockDeviceMappings"]}
    same(devices["/dev/sdf"]["DeleteOnTermination"], False)
    assert {"/dev/sdf", "/dev/sdg"} < set(devices), "the root volume comes beside those that were asked for"


@scenario
def impossible_volumes_are_refused(world):
    for ebs in ({"VolumeSize": 4, "VolumeType": "io2"}, {"VolumeSize": 4, "VolumeType": "gp2", "Iops": 100}):
        with refused("MissingParameter" if ebs["VolumeType"] == "io2" else "InvalidParameterCombination"):
            world.run(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": ebs}])


@scenario
def spot_instances_say_so(world):
    options = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time", "MaxPrice": "0.01"}}
    spot = world.run(InstanceMarketOptions=options)
    world.run()
    same(spot[0]["InstanceLifecycle"], "spot")
    same(world.found(instance_lifecycle="spot"), set(ids(spot)))


@scenario
def an_interface_takes_subnet_and_groups(world):
    subnet = world.subnets()[0]
    group = world.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    interface = {"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "Groups": [group], "AssociatePublicIpAddress": False}
    instance = world.run(NetworkInterfaces=[interface])[0]
    same(instance["SubnetId"], subnet["SubnetId"])
    same([group["GroupId"] for group in instance["SecurityGroups"]], [group])
    assert "PublicIpAddress" not in instance


@scenario
def an_interface_excludes_subnet_and_groups(world):
    subnet = world.subnets()[0]["SubnetId"]
    group = world.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    interface = {"DeviceIndex": 0, "SubnetId": subnet}
    for also in ({"SubnetId": subnet}, {"SecurityGroupIds": [group]}):
        with refused("InvalidParameterCombination", 400):
            world.run(NetworkInterfaces=[interface], **also)


@scenario
def unknown_images_are_refused(world):
    with refused("InvalidAMIID.NotFound", 400):
        world.run(ImageId="ami-0123456789abcdef0")
    with refused("InvalidAMIID.Malformed", 400):
        world.run(ImageId="nonsense")


@scenario
def unknown_subnets_are_refused(world):
    with refused("InvalidSubnetID.NotFound", 400):
        world.run(SubnetId="subnet-0123456789abcdef0")


@scenario
def unknown_groups_are_refused(world):
    with refused("InvalidGroup.NotFound", 400):
        world.run(SecurityGroupIds=["sg-0123456789abcdef0"])


@scenario
def unknown_types_are_refused(world):
    with refused("InvalidParameterValue", 400):
        world.run(InstanceType="t9.huge")


@scenario
def another_architecture_is_refused(world):
    with refused("InvalidParameterValue", 400, "architecture"):
        world.run(InstanceType="t4g.micro", ImageId=world.image("x86_64"))


@sandbox_only
def arm_images_fit_arm_types(world):
    same(world.run(InstanceType="t4g.micro", ImageId=world.image("arm64"))[0]["Architecture"], "arm64")


@scenario
def counts_are_checked(world):
    for least, most in ((0, 1), (2, 1)):
        with refused("InvalidParameterValue", 400):
            world.run(MinCount=least, MaxCount=most)


@scenario
def user_data_has_a_limit(world):
    world.run(UserData="x" * 16384)
    with refused("InvalidParameterValue", 400, "16384"):
        world.run(UserData="x" * 16385)


@scenario
def user_data_must_be_base64(world):
    client = world.client("ec2", attempts=2)  # not the client that others use: it is changed

    def plain(params, **_):
        params["body"]["UserData"] = "not base64!"

    client.meta.events.register("before-call.ec2.RunInstances", plain)
    with refused("InvalidUserData.Malformed", 400):
        client.run_instances(ImageId=world.image(), InstanceType="t3.micro", MinCount=1, MaxCount=1)


@scenario
def metadata_tags_limit_the_keys(world):
    on = {"InstanceMetadataTags": "enabled"}
    for key in ("a/b", "two words"):
        with refused("InvalidParameterValue", 400, "not a valid tag key"):
            world.run(MetadataOptions=on, TagSpecifications=tagged(**{key: "v"}))
        world.run(MetadataOptions={"InstanceMetadataTags": "disabled"}, TagSpecifications=tagged(**{key: "v"}))
    launched = world.run(MetadataOptions=on, TagSpecifications=tagged(**{"muster.dev:owner-uid": "v"}))
    with refused("InvalidParameterValue", 400, "not a valid tag key"):
        world.ec2.create_tags(Resources=ids(launched), Tags=tags({"c/d": "v"}))


@sandbox_only
def an_account_may_turn_metadata_tags_on(world):
    world.control("PUT", f"accounts/{world.account}/eu-west-1/metadata-tags-default", True)
    with refused("InvalidParameterValue", 400, "not a valid tag key"):
        world.run(TagSpecifications=tagged(**{"a/b": "v"}))
    world.run(MetadataOptions={"InstanceMetadataTags": "disabled"}, TagSpecifications=tagged(**{"a/b": "v"}))


@scenario
def impossible_tags_are_refused(world):
    for pairs in ({"aws:reserved": "v"}, {"k" * 129: "v"}, {"k": "v" * 257}):
        with refused("InvalidParameterValue", 400):
            world.run(TagSpecifications=tagged(**pairs))


@scenario
def duplicate_tags_are_refused(world):
    twice = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}]
    with refused("InvalidParameterValue", 400):
        world.run(TagSpecifications=twice)


@scenario
def fifty_tags_fit(world):
    world.run(TagSpecifications=tagged(**{f"k{n}": "v" for n in range(50)}))
    with refused("TagLimitExceeded", 400):
        world.run(TagSpecifications=tagged(**{f"k{n}": "v" for n in range(51)}))


@scenario
def a_dry_run_launches_nothing(world):
    with refused("DryRunOperation", 412):
        world.run(DryRun=True)
    same(world.describe(), [])


@scenario
def a_dry_run_finds_mistakes(world):
    with refused("InvalidAMIID.NotFound", 400):
        world.run(DryRun=True, ImageId="ami-0123456789abcdef0")


@sandbox_only
def a_parameter_that_is_not_served_is_refused(world):
    with refused("UnknownParameter", 400, "HibernationOptions.Configured"):
        world.run(HibernationOptions={"Configured": True})


@sandbox_only
def capacity_fills_up(world):
    subnet = world.subnets()[0]
    pool = {"account": world.account, "zone": subnet["AvailabilityZone"], "instanceType": "t3.micro", "limit": 3}
    world.control("PUT", "capacity", pool)
    launched = world.run(MinCount=1, MaxCount=5, SubnetId=subnet["SubnetId"])
    same(len(launched), 3)
    same([instance["AmiLaunchIndex"] for instance in launched], [0, 1, 2])
    with refused("InsufficientInstanceCapacity", 500, subnet["AvailabilityZone"]):
        world.run(SubnetId=subnet["SubnetId"])
    with refused("InsufficientInstanceCapacity", 500):
        world.run(2, SubnetId=subnet["SubnetId"])
    # Another type and another zone are other pools.
    world.run(SubnetId=subnet["SubnetId"], InstanceType="t3.small")
    same(world.run()[0]["Placement"]["AvailabilityZone"], world.subnets()[1]["AvailabilityZone"])
    # What ends makes room.
    world.ec2.terminate_instances(InstanceIds=ids(launched)[:1])
    world.settle()
    same(len(world.run(MinCount=1, MaxCount=5, SubnetId=subnet["SubnetId"])), 1)


@sandbox_only
def markets_have_capacity_of_their_own(world):
    subnet = world.subnets()[0]
    pool = {"account": world.account, "zone": subnet["AvailabilityZone"], "instanceType": "t3.micro"}
    world.control("PUT", "capacity", pool | {"market": "spot", "limit": 0})
    with refused("InsufficientInstanceCapacity"):
        world.run(SubnetId=subnet["SubnetId"], InstanceMarketOptions={"MarketType": "spot"})
    world.run(SubnetId=subnet["SubnetId"])


@sandbox_only
def addresses_run_out(world):
    subnet = world.control("POST", "subnets", {
        "account": world.account, "region": "eu-west-1", "zone": "a", "cidr": "172.31.240.0/28",
    })["id"]
    free = lambda: world.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    same(free(), 11)
    with refused("InsufficientFreeAddressesInSubnet", 400):
        world.run(12, SubnetId=subnet)
    launched = world.run(11, SubnetId=subnet)
    same(len({instance["PrivateIpAddress"] for instance in launched}), 11)
    same(free(), 0)
    world.ec2.terminate_instances(InstanceIds=ids(launched))
    world.settle()
    same(free(), 11)


@sandbox_only
def groups_of_another_network_are_refused(world):
    group = world.control("POST", "security-groups", {
        "account": world.account, "region": "eu-west-1", "vpcId": "vpc-0123456789abcdef0", "name": "other",
    })["id"]
    with refused("InvalidParameter", 400, "belong to different networks"):
        world.run(SecurityGroupIds=[group], SubnetId=world.subnets()[0]["SubnetId"])


@sandbox_only
def user_data_reaches_the_instance(world):
    launched = world.run(UserData="#!/bin/sh\necho hello")
    instance = world.control("GET", f"instances/{ids(launched)[0]}")
    same(base64.b64decode(instance["userData"]).decode(), "#!/bin/sh\necho hello")


@sandbox_only
def launches_are_throttled(world):
    image = world.image()
    request = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    ec2 = world.ec2
    with refused("RequestLimitExceeded", 503):
        for _ in range(20):
            ec2.run_instances(**request)
    assert len(world.describe()) >= 5
    # A client that retries gets through.
    world.client("ec2", attempts=8).run_instances(**request)
