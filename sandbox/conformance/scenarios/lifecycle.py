from harness import eventually, ids, refused, same, sandbox_only, scenario, tagged, tags


def row(world, instance):
    return world.describe(InstanceIds=[instance])[0]


@scenario
def instances_come_up(world):
    instance = ids(world.run())[0]
    world.settle()
    eventually(lambda: same(row(world, instance)["State"], {"Code": 16, "Name": "running"}))
    assert "StateReason" not in row(world, instance), "a running instance has no reason"


@scenario
def termination_tells_both_states(world):
    instance = ids(world.run())[0]
    world.settle()
    row(world, instance)
    change = world.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
    same(change[0]["InstanceId"], instance)
    same(change[0]["PreviousState"], {"Code": 16, "Name": "running"})
    same(change[0]["CurrentState"], {"Code": 32, "Name": "shutting-down"})


@scenario
def terminated_instances_say_why(world):
    instance = ids(world.run())[0]
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    eventually(lambda: same(row(world, instance)["State"]["Name"], "terminated"))
    ended = row(world, instance)
    same(ended["StateReason"]["Code"], "Client.UserInitiatedShutdown")
    assert ended["StateTransitionReason"].startswith("User initiated ("), ended["StateTransitionReason"]


@scenario
def a_terminated_instance_has_no_network(world):
    instance = ids(world.run())[0]
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    ended = row(world, instance)
    assert "PrivateIpAddress" not in ended and "SubnetId" not in ended, "EC2 takes the network away"
    same(ended["NetworkInterfaces"] if "NetworkInterfaces" in ended else [], [])


@scenario
def terminating_twice_is_fine(world):
    instance = ids(world.run())[0]
    ec2 = world.ec2
    ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    change = ec2.terminate_instances(InstanceIds=[instance, instance])["TerminatingInstances"]
    same([(c["PreviousState"]["Name"], c["CurrentState"]["Name"]) for c in change], [("terminated", "terminated")])


@scenario
def one_bad_id_fails_the_whole_termination(world):
    launched = ids(world.run(2))
    world.settle()
    ec2 = world.ec2
    with refused("InvalidInstanceID.NotFound", 400, "i-0123456789abcdef0"):
        ec2.terminate_instances(InstanceIds=[launched[0], "i-0123456789abcdef0", launched[1]])
    same({instance["State"]["Name"] for instance in world.describe()} <= {"pending", "running"}, True)


@scenario
def malformed_ids_are_not_terminated(world):
    with refused("InvalidInstanceID.Malformed", 400):
        world.ec2.terminate_instances(InstanceIds=["nonsense"])


@scenario
def a_dry_run_ends_nothing(world):
    launched = ids(world.run())
    with refused("DryRunOperation", 412):
        world.ec2.terminate_instances(InstanceIds=launched, DryRun=True)
    world.settle()
    eventually(lambda: same(row(world, launched[0])["State"]["Name"], "running"))


@scenario
def protected_instances_are_not_terminated(world):
    protected = ids(world.run(DisableApiTermination=True))
    with refused("OperationNotPermitted", 400):
        world.ec2.terminate_instances(InstanceIds=protected)


@sandbox_only
def a_thousand_instances_end_in_one_call(world):
    world.control("PATCH", "settings", {"throttling": False})
    try:
        launched = ids(world.run(1000))
        same(len(world.ec2.terminate_instances(InstanceIds=launched)["TerminatingInstances"]), 1000)
        with refused("InvalidParameterValue", 400):
            world.ec2.terminate_instances(InstanceIds=[*launched, "i-0123456789abcdef0"])
    finally:
        world.control("PATCH", "settings", {"throttling": True})


@sandbox_only
def the_dead_linger_and_their_tags_fade(world):
    instance = ids(world.run(TagSpecifications=tagged(app="core")))[0]
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    same(row(world, instance)["Tags"], tags({"app": "core"}))
    world.step(600)
    assert "Tags" not in row(world, instance), "tags fade before the row does"
    same(world.found_by(("tag:app", ["core"])), set())
    world.step(2995)
    row(world, instance)
    world.step(10)
    with refused("InvalidInstanceID.NotFound", 400):
        row(world, instance)
    same(world.describe(), [])
    with refused("InvalidInstanceID.NotFound", 400):
        world.ec2.terminate_instances(InstanceIds=[instance])


@sandbox_only
def the_console_stops_and_terminates(world):
    stopped, terminated = ids(world.run(2))
    world.settle()
    world.control("POST", f"instances/{stopped}/stop")
    world.control("POST", f"instances/{terminated}/terminate")
    same({row(world, stopped)["State"]["Name"], row(world, terminated)["State"]["Name"]}, {"stopping", "shutting-down"})
    world.settle()
    for instance, state in ((stopped, "stopped"), (terminated, "terminated")):
        same(row(world, instance)["State"]["Name"], state)
        same(row(world, instance)["StateReason"]["Code"], "Client.UserInitiatedShutdown")
    # What is stopped can still be terminated.
    same(world.ec2.terminate_instances(InstanceIds=[stopped])["TerminatingInstances"][0]["PreviousState"]["Name"], "stopped")


@sandbox_only
def a_shutdown_from_inside_follows_the_behaviour(world):
    for behaviour, state in (("stop", "stopped"), ("terminate", "terminated")):
        instance = ids(world.run(InstanceInitiatedShutdownBehavior=behaviour))[0]
        world.settle()
        world.control("POST", f"instances/{instance}/shutdown")
        world.settle()
        same(row(world, instance)["State"]["Name"], state)
        same(row(world, instance)["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")


@scenario
def stopped_instances_start_again(world):
    instance = ids(world.run())[0]
    world.settle()
    row(world, instance)
    change = world.ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
    same((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "stopping"))
    world.settle()
    eventually(lambda: same(row(world, instance)["State"], {"Code": 80, "Name": "stopped"}))
    stopped = row(world, instance)
    same(stopped["StateReason"]["Code"], "Client.UserInitiatedShutdown")
    assert stopped["StateTransitionReason"].startswith("User initiated ("), stopped["StateTransitionReason"]
    assert "PublicIpAddress" not in stopped, "a stopped instance gives its public address back"
    change = world.ec2.start_instances(InstanceIds=[instance])["StartingInstances"][0]
    same((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("stopped", "pending"))
    world.settle()
    eventually(lambda: same(row(world, instance)["State"]["Name"], "running"))
    same(row(world, instance)["StateTransitionReason"], "")


@scenario
def what_ended_neither_stops_nor_starts(world):
    instance = ids(world.run())[0]
    world.settle()
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    for deed in (world.ec2.stop_instances, world.ec2.start_instances):
        with refused("IncorrectInstanceState", 400):
            deed(InstanceIds=[instance])
        with refused("InvalidInstanceID.NotFound", 400):
            deed(InstanceIds=["i-0123456789abcdef0"])


@scenario
def spot_does_not_stop(world):
    spot = ids(world.run(InstanceMarketOptions={"MarketType": "spot"}))
    world.settle()
    with refused("UnsupportedOperation", 400, "one-time Spot Instance request"):
        world.ec2.stop_instances(InstanceIds=spot)


@sandbox_only
def a_start_needs_capacity(world):
    subnet = world.subnets()[0]
    instance = ids(world.run(SubnetId=subnet["SubnetId"]))
    world.settle()
    world.ec2.stop_instances(InstanceIds=instance)
    world.settle()
    pool = {"account": world.account, "zone": subnet["AvailabilityZone"], "instanceType": "t3.micro", "limit": 0}
    world.control("PUT", "capacity", pool)
    with refused("InsufficientInstanceCapacity", 500):
        world.ec2.start_instances(InstanceIds=instance)
    world.control("PUT", "capacity", pool | {"limit": 1})
    world.ec2.start_instances(InstanceIds=instance)


@scenario
def a_console_is_empty_at_first(world):
    instance = ids(world.run())[0]
    answer = world.ec2.get_console_output(InstanceId=instance)
    same(answer["InstanceId"], instance)
    assert "Output" not in answer, "there is no output yet"


@sandbox_only
def a_console_shows_its_end(world):
    instance = ids(world.run())[0]
    world.control("PUT", f"instances/{instance}/console", "booting")
    world.step(0.4)
    assert "Output" not in world.ec2.get_console_output(InstanceId=instance), "posted some time after the start"
    same(world.ec2.get_console_output(InstanceId=instance, Latest=True)["Output"], '"booting"')
    world.step(2)
    same(world.ec2.get_console_output(InstanceId=instance)["Output"], '"booting"')
    world.control("PUT", f"instances/{instance}/console", "x" * 70_000)
    same(len(world.ec2.get_console_output(InstanceId=instance)["Output"]), 65_536)
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.settle()
    same(len(world.ec2.get_console_output(InstanceId=instance)["Output"]), 65_536)


@scenario
def an_unknown_console_is_not_found(world):
    with refused("InvalidInstanceID.NotFound", 400):
        world.ec2.get_console_output(InstanceId="i-0123456789abcdef0")


@sandbox_only
def spot_is_interrupted_after_a_notice(world):
    spot, other = ids(world.run(InstanceMarketOptions={"MarketType": "spot"}))[0], ids(world.run())[0]
    world.settle()
    assert row(world, spot)["SpotInstanceRequestId"].startswith("sir-")
    world.control("POST", f"instances/{spot}/rebalance")
    world.control("POST", f"instances/{spot}/interrupt", {})
    world.step(119)
    same(row(world, spot)["State"]["Name"], "running")
    world.step(1)
    same(row(world, spot)["State"]["Name"], "shutting-down")
    same(row(world, spot)["StateReason"]["Code"], "Server.SpotInstanceTermination")
    try:
        world.control("POST", f"instances/{other}/interrupt", {})
    except OSError as error:
        same(error.code, 400)
    else:
        raise AssertionError("only spot instances are interrupted")


@sandbox_only
def spot_is_reclaimed(world):
    spot = ids(world.run(InstanceMarketOptions={"MarketType": "spot"}))[0]
    world.settle()
    world.control("POST", f"instances/{spot}/reclaim")
    world.settle()
    same(row(world, spot)["State"]["Name"], "terminated")
    same(row(world, spot)["StateReason"]["Code"], "Server.SpotInstanceTermination")
    same(world.found(state_reason_code="Server.SpotInstanceTermination"), {spot})


@scenario
def tags_are_added_and_overwritten(world):
    instance = ids(world.run(TagSpecifications=tagged(a="1", b="2")))[0]
    ec2 = world.ec2
    ec2.create_tags(Resources=[instance], Tags=tags({"b": "3", "c": "4"}))
    same({tag["Key"]: tag["Value"] for tag in row(world, instance)["Tags"]}, {"a": "1", "b": "3", "c": "4"})


@scenario
def networks_and_images_take_tags(world):
    ec2 = world.ec2
    subnet = world.subnets()[0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    ec2.create_tags(Resources=[subnet, group], Tags=tags({"a": "1"}))
    by_tag = [{"Name": "tag:a", "Values": ["1"]}]
    same([found["SubnetId"] for found in ec2.describe_subnets(Filters=by_tag)["Subnets"]], [subnet])
    same([found["GroupId"] for found in ec2.describe_security_groups(Filters=by_tag)["SecurityGroups"]], [group])


@scenario
def tags_go_to_all_or_none(world):
    instance = ids(world.run())[0]
    with refused("InvalidInstanceID.NotFound", 400):
        world.ec2.create_tags(Resources=[instance, "i-0123456789abcdef0"], Tags=tags({"a": "1"}))
    same(row(world, instance).get("Tags", []), [])


@scenario
def a_fifty_first_tag_is_refused(world):
    instance = ids(world.run(TagSpecifications=tagged(**{f"k{n}": "v" for n in range(49)})))[0]
    ec2 = world.ec2
    ec2.create_tags(Resources=[instance], Tags=tags({"k49": "v"}))
    with refused("TagLimitExceeded", 400):
        ec2.create_tags(Resources=[instance], Tags=tags({"k50": "v"}))
