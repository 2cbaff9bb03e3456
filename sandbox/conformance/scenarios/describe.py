from harness import ids, refused, same, sandbox_only, scenario, tagged


@scenario
def ids_are_checked(world):
    with refused("InvalidInstanceID.NotFound", 400, "The instance ID 'i-0123456789abcdef0' does not exist"):
        world.describe(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidInstanceID.NotFound", 400, "do not exist"):
        world.describe(InstanceIds=["i-0123456789abcdef0", "i-0123456789abcdef1"])


@scenario
def malformed_ids_are_told_apart(world):
    with refused("InvalidInstanceID.Malformed", 400):
        world.describe(InstanceIds=["nonsense"])


@scenario
def one_missing_id_fails_the_call(world):
    launched = world.run()
    with refused("InvalidInstanceID.NotFound", 400, "i-0123456789abcdef0"):
        world.describe(InstanceIds=[*ids(launched), "i-0123456789abcdef0"])


@scenario
def filters_find_their_instances(world):
    here, there = world.subnets()[:2]
    one = world.run(SubnetId=here["SubnetId"], TagSpecifications=tagged(app="core", stage="test"))[0]
    two = world.run(SubnetId=there["SubnetId"], InstanceType="t3.small", TagSpecifications=tagged(app="edge"))[0]
    first, second = {one["InstanceId"]}, {two["InstanceId"]}
    world.settle()
    same(world.found(instance_id=one["InstanceId"]), first)
    same(world.found(subnet_id=here["SubnetId"]), first)
    same(world.found(availability_zone=there["AvailabilityZone"]), second)
    same(world.found(instance_type="t3.small"), second)
    same(world.found(image_id=one["ImageId"]), first | second)
    same(world.found(vpc_id=here["VpcId"]), first | second)
    same(world.found(reservation_id="r-none"), set())
    same(world.found(private_ip_address=one["PrivateIpAddress"]), first)
    same(world.found_by(("tag:app", ["core"])), first)
    same(world.found_by(("tag:app", ["core", "edge"])), first | second)
    same(world.found_by(("tag:app", ["core"]), ("tag:stage", ["other"])), set())
    same(world.found(tag_key="stage"), first)
    same(world.found(instance_state_name=["running"]), first | second)
    same(world.found(instance_state_code="16"), first | second)
    same(world.found(instance_state_name=["stopped", "terminated"]), set())
    same(world.found_by(("instance.group-name", ["default"])), first | second)


@scenario
def filters_have_wildcards(world):
    one = world.run(TagSpecifications=tagged(name="batch-1"))[0]["InstanceId"]
    two = world.run(TagSpecifications=tagged(name="batch-22"))[0]["InstanceId"]
    same(world.found_by(("tag:name", ["batch-*"])), {one, two})
    same(world.found_by(("tag:name", ["batch-?"])), {one})
    same(world.found_by(("tag:name", ["*22"])), {two})
    same(world.found_by(("tag:name", ["batch"])), set())


@scenario
def values_are_matched_by_case(world):
    world.run(TagSpecifications=tagged(name="Batch"))
    same(world.found_by(("tag:name", ["batch"])), set())


@scenario
def unknown_filters_are_refused(world):
    with refused("InvalidParameterValue", 400):
        world.found(colour="red")


@scenario
def instances_of_a_launch_share_a_reservation(world):
    world.run(3)
    world.run(2)
    reservations = world.ec2.describe_instances()["Reservations"]
    same(sorted(len(reservation["Instances"]) for reservation in reservations), [2, 3])


@scenario
def pages_are_complete(world):
    launched = set(ids(world.run(12)))
    pages = list(world.ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    sizes = [sum(len(reservation["Instances"]) for reservation in page["Reservations"]) for page in pages]
    same(sizes, [5, 5, 2])
    seen = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
    same(len(seen), 12)
    same(set(seen), launched)


@scenario
def pages_have_bounds(world):
    for size in (4, 1001):
        with refused("InvalidParameterValue", 400):
            world.describe(MaxResults=size)


@scenario
def pages_exclude_ids(world):
    launched = world.run()
    with refused("InvalidParameterCombination", 400):
        world.describe(InstanceIds=ids(launched), MaxResults=5)


@scenario
def foreign_page_tokens_are_refused(world):
    with refused("InvalidParameterValue", 400):
        world.describe(MaxResults=5, NextToken="nonsense")


@sandbox_only
def a_thousand_rows_are_a_page(world):
    world.control("PATCH", "settings", {"throttling": False})
    try:
        for _ in range(2):
            world.run(600)
        first = world.ec2.describe_instances()
        same(sum(len(reservation["Instances"]) for reservation in first["Reservations"]), 1000)
        rest = world.ec2.describe_instances(NextToken=first["NextToken"])
        same(sum(len(reservation["Instances"]) for reservation in rest["Reservations"]), 200)
        assert "NextToken" not in rest
    finally:
        world.control("PATCH", "settings", {"throttling": True})


@sandbox_only
def describe_lags_behind_a_launch(world):
    world.control("PATCH", "settings", {"describeLagMillis": 60_000})
    try:
        launched = world.run(ClientToken=f"lag-{world.account}", TagSpecifications=tagged(app="core"))
        by_token = lambda: world.found(client_token=f"lag-{world.account}")
        by_tag = lambda: world.found_by(("tag:app", ["core"]))
        same((world.describe(), by_token(), by_tag()), ([], set(), set()))
        with refused("InvalidInstanceID.NotFound", 400):
            world.describe(InstanceIds=ids(launched))
        with refused("InvalidInstanceID.NotFound", 400):
            world.ec2.describe_instance_status(InstanceIds=ids(launched))
        # The token knows better, and so does a call that ends the instance.
        same(ids(world.run(ClientToken=f"lag-{world.account}", TagSpecifications=tagged(app="core"))), ids(launched))
        world.step(60)
        same((by_token(), by_tag()), (set(ids(launched)), set(ids(launched))))
        world.ec2.terminate_instances(InstanceIds=ids(launched))
        world.settle()
        same(world.describe(InstanceIds=ids(launched))[0]["State"]["Name"], "running")
        world.step(60)
        same(world.describe(InstanceIds=ids(launched))[0]["State"]["Name"], "terminated")
    finally:
        world.control("PATCH", "settings", {"describeLagMillis": 0})


@sandbox_only
def a_zone_may_go_dark(world):
    here, there = world.subnets()[:2]
    lost = world.run(SubnetId=here["SubnetId"])
    kept = world.run(SubnetId=there["SubnetId"])
    path = f"accounts/{world.account}/eu-west-1/dark-zones/{here['AvailabilityZone']}"
    world.control("PUT", path)
    same(ids(world.describe()), ids(kept))
    world.control("DELETE", path)
    same(sorted(ids(world.describe())), sorted([*ids(lost), *ids(kept)]))


@sandbox_only
def status_follows_the_clock(world):
    launched = ids(world.run())[0]
    ec2 = world.ec2

    def status(**arguments):
        rows = ec2.describe_instance_status(**arguments)["InstanceStatuses"]
        return [(row["InstanceState"]["Name"], row["SystemStatus"]["Status"], row["InstanceStatus"]["Status"]) for row in rows]

    same(status(), [])
    same(status(IncludeAllInstances=True), [("pending", "initializing", "initializing")])
    world.step(0.4)
    same(status(), [("running", "initializing", "initializing")])
    world.settle()
    same(status(InstanceIds=[launched]), [("running", "ok", "ok")])
    world.control("PUT", f"instances/{launched}/health", {"instance": "impaired"})
    same(status(Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}]), [("running", "ok", "impaired")])
    same(status(Filters=[{"Name": "system-status.status", "Values": ["impaired"]}]), [])
    ec2.terminate_instances(InstanceIds=[launched])
    same(status(), [])
    same(status(IncludeAllInstances=True), [("shutting-down", "not-applicable", "not-applicable")])


@scenario
def status_is_of_running_instances(world):
    launched = world.run(2)
    world.settle()
    ec2 = world.ec2
    ec2.terminate_instances(InstanceIds=ids(launched)[:1])
    world.settle()
    same([row["InstanceId"] for row in ec2.describe_instance_status()["InstanceStatuses"]], ids(launched)[1:])
    same(len(ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]), 2)
    with refused("InvalidInstanceID.NotFound", 400):
        ec2.describe_instance_status(InstanceIds=["i-0123456789abcdef0"])


@sandbox_only
def status_has_pages(world):
    world.run(7)
    world.settle()
    pages = list(world.ec2.get_paginator("describe_instance_status").paginate(PaginationConfig={"PageSize": 5}))
    same([len(page["InstanceStatuses"]) for page in pages], [5, 2])
