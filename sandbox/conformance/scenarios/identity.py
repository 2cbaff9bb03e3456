from harness import refused, same, sandbox_only, scenario


def role(world, name="muster", **fields):
    return world.control("PUT", "roles", {"account": world.account, "name": name, "allowedPrincipals": ["*"]} | fields)


@scenario
def the_caller_is_who_the_key_says(world):
    answer = world.sts.get_caller_identity()
    same(answer["Account"], world.account)
    same(set(answer) - {"ResponseMetadata"}, {"Arn", "UserId", "Account"})


@scenario
def unknown_keys_are_refused(world):
    with refused("InvalidClientTokenId", 403):
        world.client("sts", key="AKIAUNKNOWNUNKNOWN00").get_caller_identity()
    with refused("AuthFailure", 401):
        world.client("ec2", key="AKIAUNKNOWNUNKNOWN00").describe_instances()


@sandbox_only
def an_assumed_role_is_another_caller(world):
    arn = role(world)
    answer = world.sts.assume_role(RoleArn=arn, RoleSessionName="session")
    credentials = answer["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    sts = world.client("sts", key=credentials["AccessKeyId"], token=credentials["SessionToken"])
    identity = sts.get_caller_identity()
    same(identity["Arn"], f"arn:aws:sts::{world.account}:assumed-role/muster/session")
    same(identity["Arn"], answer["AssumedRoleUser"]["Arn"])
    same(identity["UserId"], answer["AssumedRoleUser"]["AssumedRoleId"])


@scenario
def temporary_keys_need_their_token(world):
    if world.is_sandbox:
        role(world)
    answer = world.sts.assume_role(RoleArn=f"arn:aws:iam::{world.account}:role/muster", RoleSessionName="session")
    key = answer["Credentials"]["AccessKeyId"]
    with refused("InvalidClientTokenId", 403):
        world.client("sts", key=key).get_caller_identity()
    with refused("AuthFailure", 401):
        world.client("ec2", key=key, token="another").describe_subnets()


@scenario
def an_unknown_role_is_denied(world):
    with refused("AccessDenied", 403, "is not authorized to perform: sts:AssumeRole on resource"):
        world.sts.assume_role(RoleArn=f"arn:aws:iam::{world.account}:role/none", RoleSessionName="session")


@sandbox_only
def trust_names_principals_and_external_id(world):
    other = "999999999999"
    mine = role(world, "mine", allowedPrincipals=[world.account])
    theirs = role(world, "theirs", allowedPrincipals=[f"arn:aws:iam::{other}:root"], externalId="secret")
    world.sts.assume_role(RoleArn=mine, RoleSessionName="session")
    stranger = world.client("sts", key=f"AKIASANDBOX{other}")
    with refused("AccessDenied"):
        stranger.assume_role(RoleArn=mine, RoleSessionName="session")
    with refused("AccessDenied"):
        world.sts.assume_role(RoleArn=theirs, RoleSessionName="session", ExternalId="secret")
    for wrong in ({}, {"ExternalId": "guess"}):
        with refused("AccessDenied"):
            stranger.assume_role(RoleArn=theirs, RoleSessionName="session", **wrong)
    assumed = stranger.assume_role(RoleArn=theirs, RoleSessionName="session", ExternalId="secret")["Credentials"]
    # The session is in the role's account, and it sees that account's instances only.
    world.run()
    ec2 = world.client("ec2", key=assumed["AccessKeyId"], token=assumed["SessionToken"])
    same(len(ec2.describe_instances()["Reservations"]), 1)


@sandbox_only
def a_role_may_assume_a_role(world):
    first = role(world, "first")
    second = role(world, "second", allowedPrincipals=[first])
    with refused("AccessDenied"):
        world.sts.assume_role(RoleArn=second, RoleSessionName="session")
    assumed = world.sts.assume_role(RoleArn=first, RoleSessionName="session")["Credentials"]
    sts = world.client("sts", key=assumed["AccessKeyId"], token=assumed["SessionToken"])
    same(sts.assume_role(RoleArn=second, RoleSessionName="next")["AssumedRoleUser"]["Arn"].split("/")[1], "second")


@sandbox_only
def a_chained_session_lasts_an_hour_at_most(world):
    first = role(world, "first")
    second = role(world, "second", maxSessionSeconds=43200)
    world.sts.assume_role(RoleArn=second, RoleSessionName="session", DurationSeconds=7200)
    assumed = world.sts.assume_role(RoleArn=first, RoleSessionName="session")["Credentials"]
    sts = world.client("sts", key=assumed["AccessKeyId"], token=assumed["SessionToken"])
    sts.assume_role(RoleArn=second, RoleSessionName="next", DurationSeconds=3600)
    with refused("ValidationError", 400, "role chaining"):
        sts.assume_role(RoleArn=second, RoleSessionName="next", DurationSeconds=3601)


@sandbox_only
def session_tags_need_trust(world):
    arn = role(world)
    tags = [{"Key": "namespace", "Value": "ml"}]
    with refused("AccessDenied", message="sts:TagSession"):
        world.sts.assume_role(RoleArn=arn, RoleSessionName="session", Tags=tags)
    role(world, allowSessionTags=True)
    world.sts.assume_role(RoleArn=arn, RoleSessionName="session", Tags=tags)


@scenario
def role_sessions_are_checked(world):
    arn = f"arn:aws:iam::{world.account}:role/muster"
    if world.is_sandbox:
        role(world)
    sts = world.sts
    with refused("ValidationError", 400):
        sts.assume_role(RoleArn=arn, RoleSessionName="no spaces")
    with refused("ValidationError", 400):
        sts.assume_role(RoleArn=arn, RoleSessionName="session", DurationSeconds=43201)


@scenario
def a_role_bounds_its_sessions(world):
    arn = f"arn:aws:iam::{world.account}:role/muster"
    if world.is_sandbox:
        role(world)
    with refused("ValidationError", 400):
        world.sts.assume_role(RoleArn=arn, RoleSessionName="session", DurationSeconds=7200)


@sandbox_only
def a_revoked_key_is_refused(world):
    world.sts.get_caller_identity()
    world.control("PUT", f"revoked-keys/{world.key}")
    with refused("InvalidClientTokenId"):
        world.sts.get_caller_identity()
    world.control("DELETE", f"revoked-keys/{world.key}")
    world.sts.get_caller_identity()


@scenario
def accounts_and_regions_are_apart(world):
    world.run()
    other_region = world.client("ec2", region="us-east-1")
    same(other_region.describe_instances()["Reservations"], [])
    if world.is_sandbox:
        stranger = world.client("ec2", key="AKIASANDBOX999999999998")
        same(stranger.describe_instances()["Reservations"], [])


@scenario
def an_unknown_action_is_refused(world):
    with refused("InvalidAction", 400):
        world.ec2.describe_fpga_images()


@sandbox_only
def a_service_that_is_not_there_is_named(world):
    with refused("UnknownService"):
        world.client("elbv2").describe_load_balancers()
