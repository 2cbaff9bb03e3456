from harness import eventually, ids, refused, same, sandbox_only, scenario, tagged


def token_of(world):
    return f"token-{world.account}"


@scenario
def a_token_is_shown(world):
    launched = world.run(ClientToken=token_of(world))
    same(launched[0]["ClientToken"], token_of(world))
    same(world.found(client_token=token_of(world)), set(ids(launched)))


@scenario
def the_same_request_launches_once(world):
    request = {"ClientToken": token_of(world), "TagSpecifications": tagged(a="b"), "UserData": "#!/bin/sh"}
    first = world.run(3, **request)
    second = world.run(3, **request)
    same(ids(second), ids(first))
    same(len(world.describe()), 3)


@scenario
def a_changed_request_is_a_mismatch(world):
    base = {"ClientToken": token_of(world), "TagSpecifications": tagged(a="b"), "UserData": "one"}
    world.run(**base)
    changes = [
        {"MaxCount": 2},
        {"InstanceType": "t3.small"},
        {"UserData": "two"},
        {"TagSpecifications": tagged(a="c")},
        {"KeyName": "key"},
        {"SecurityGroupIds": [world.ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]]},
    ]
    for change in changes[:4] if world.is_sandbox else changes:
        with refused("IdempotentParameterMismatch", 400):
            world.run(**(base | change))
    same(len(world.describe()), 1)


@sandbox_only
def more_changes_are_a_mismatch(world):
    base = {"ClientToken": token_of(world)}
    world.run(**base)
    for change in ({"KeyName": "key"}, {"EbsOptimized": True}, {"IamInstanceProfile": {"Name": "worker"}}):
        with refused("IdempotentParameterMismatch", 400):
            world.run(**(base | change))


@scenario
def a_token_counts_per_zone_when_a_subnet_is_named(world):
    first, second = world.subnets()[:2]
    base = {"ClientToken": token_of(world)}
    one = world.run(SubnetId=first["SubnetId"], **base)
    two = world.run(SubnetId=second["SubnetId"], **base)
    assert ids(one) != ids(two), "the second zone must launch again"
    same(ids(world.run(SubnetId=first["SubnetId"], **base)), ids(one))
    same(ids(world.run(SubnetId=second["SubnetId"], **base)), ids(two))
    same(world.found(client_token=token_of(world)), {*ids(one), *ids(two)})


@sandbox_only
def another_subnet_of_the_same_zone_is_a_mismatch(world):
    first = world.subnets()[0]
    extra = world.control("POST", "subnets", {
        "account": world.account, "region": "eu-west-1", "zone": first["AvailabilityZone"], "cidr": "172.31.128.0/24",
    })
    world.run(SubnetId=first["SubnetId"], ClientToken=token_of(world))
    with refused("IdempotentParameterMismatch"):
        world.run(SubnetId=extra["id"], ClientToken=token_of(world))


@scenario
def a_token_outlives_its_instances(world):
    request = {"ClientToken": token_of(world)}
    first = world.run(**request)
    world.ec2.terminate_instances(InstanceIds=ids(first))
    world.settle()
    same(ids(world.run(**request)), ids(first))

    def ended():
        same([instance["State"]["Name"] for instance in world.describe()], ["terminated"])

    eventually(ended)


@sandbox_only
def a_token_is_known_for_a_day(world):
    request = {"ClientToken": token_of(world)}
    first = world.run(**request)
    world.ec2.terminate_instances(InstanceIds=ids(first))
    world.step(23 * 3600)
    same(world.describe(), [])
    again = world.run(**request)
    same(ids(again), ids(first))
    same(again[0]["State"]["Name"], "terminated")
    world.step(3601)
    assert ids(world.run(**request)) != ids(first), "a day later the token is free"


@sandbox_only
def a_refused_launch_leaves_its_token_free(world):
    subnet = world.subnets()[0]
    pool = {"account": world.account, "zone": subnet["AvailabilityZone"], "instanceType": "t3.micro"}
    world.control("PUT", "capacity", pool | {"limit": 0})
    request = {"ClientToken": token_of(world), "SubnetId": subnet["SubnetId"]}
    with refused("InsufficientInstanceCapacity", 500):
        world.run(**request)
    world.control("PUT", "capacity", pool | {"limit": None})
    same(len(world.run(**request)), 1)


@scenario
def long_tokens_are_refused(world):
    world.run(ClientToken="t" * 64)
    with refused("InvalidParameterValue", 400):
        world.run(ClientToken="t" * 65)
    with refused("InvalidParameterValue", 400):
        world.run(ClientToken="schlüssel")
