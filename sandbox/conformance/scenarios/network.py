from harness import refused, same, sandbox_only, scenario


@scenario
def a_region_starts_with_a_default_network(world):
    subnets = world.subnets()
    same(len(subnets), 3)
    same({subnet["State"] for subnet in subnets}, {"available"})
    same(len({subnet["AvailabilityZone"] for subnet in subnets}), 3)
    same(len({subnet["VpcId"] for subnet in subnets}), 1)
    same([subnet["AvailableIpAddressCount"] for subnet in subnets], [4091] * 3)
    same({subnet["OwnerId"] for subnet in subnets}, {world.account})
    groups = world.ec2.describe_security_groups()["SecurityGroups"]
    same([(group["GroupName"], group["VpcId"]) for group in groups], [("default", subnets[0]["VpcId"])])


@scenario
def subnets_are_found(world):
    ec2 = world.ec2
    one = world.subnets()[1]
    for filters in (
        {"SubnetIds": [one["SubnetId"]]},
        {"Filters": [{"Name": "subnet-id", "Values": [one["SubnetId"]]}]},
        {"Filters": [{"Name": "availability-zone", "Values": [one["AvailabilityZone"]]}]},
        {"Filters": [{"Name": "vpc-id", "Values": [one["VpcId"]]}, {"Name": "cidr-block", "Values": [one["CidrBlock"]]}]},
    ):
        same([subnet["SubnetId"] for subnet in ec2.describe_subnets(**filters)["Subnets"]], [one["SubnetId"]])
    same(ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": ["vpc-none"]}])["Subnets"], [])
    with refused("InvalidSubnetID.NotFound", 400):
        ec2.describe_subnets(SubnetIds=["subnet-0123456789abcdef0"])


@scenario
def groups_are_found(world):
    ec2 = world.ec2
    one = ec2.describe_security_groups()["SecurityGroups"][0]
    for filters in (
        {"GroupIds": [one["GroupId"]]},
        {"GroupNames": ["default"]},
        {"Filters": [{"Name": "group-id", "Values": [one["GroupId"]]}]},
        {"Filters": [{"Name": "group-name", "Values": ["def*"]}, {"Name": "vpc-id", "Values": [one["VpcId"]]}]},
    ):
        same([group["GroupId"] for group in ec2.describe_security_groups(**filters)["SecurityGroups"]], [one["GroupId"]])
    same(ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["none"]}])["SecurityGroups"], [])
    with refused("InvalidGroup.NotFound", 400):
        ec2.describe_security_groups(GroupIds=["sg-0123456789abcdef0"])


@scenario
def unknown_subnet_filters_are_refused(world):
    with refused("InvalidParameterValue", 400):
        world.ec2.describe_subnets(Filters=[{"Name": "colour", "Values": ["red"]}])


@scenario
def launches_take_addresses(world):
    subnet = world.subnets()[0]["SubnetId"]
    world.run(2, SubnetId=subnet)
    same(world.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"], 4089)


@sandbox_only
def networks_can_be_added(world):
    place = {"account": world.account, "region": "eu-west-1"}
    subnet = world.control("POST", "subnets", place | {"zone": "b", "cidr": "172.31.200.0/24", "tags": {"tier": "batch"}})
    group = world.control("POST", "security-groups", place | {"name": "workers", "tags": {"tier": "batch"}})
    by_tag = [{"Name": "tag:tier", "Values": ["batch"]}]
    found = world.ec2.describe_subnets(Filters=by_tag)["Subnets"]
    same([(one["SubnetId"], one["AvailabilityZone"], one["DefaultForAz"]) for one in found], [(subnet["id"], "eu-west-1b", False)])
    same([one["GroupId"] for one in world.ec2.describe_security_groups(Filters=by_tag)["SecurityGroups"]], [group["id"]])
    instance = world.run(SubnetId=subnet["id"], SecurityGroupIds=[group["id"]])[0]
    same(instance["Placement"]["AvailabilityZone"], "eu-west-1b")
    assert "PublicIpAddress" not in instance, "only default subnets give public addresses"
