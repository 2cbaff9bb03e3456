import datetime
import time

from harness import refused, same, sandbox_only, scenario, tags


def put(world, name, value, **arguments):
    return world.ssm.put_parameter(**({"Name": name, "Value": value, "Type": "String"} | arguments))


def secret(world, name, value, **arguments):
    return put(world, name, value, Type="SecureString", **arguments)


def names(rows):
    return [row["Name"] for row in rows]


@scenario
def a_parameter_is_read_back(world):
    same(put(world, "/app/model", "red")["Version"], 1)
    parameter = world.ssm.get_parameter(Name="/app/model")["Parameter"]
    wanted = {"Name": "/app/model", "Value": "red", "Type": "String", "Version": 1, "DataType": "text"}
    same({key: parameter[key] for key in wanted}, wanted)
    same(parameter["ARN"], f"arn:aws:ssm:eu-west-1:{world.account}:parameter/app/model")
    assert isinstance(parameter["LastModifiedDate"], datetime.datetime)


@scenario
def a_parameter_needs_a_type_once(world):
    with refused("ValidationException", 400, "A parameter type is required"):
        world.ssm.put_parameter(Name="model", Value="red")
    put(world, "model", "red")
    same(world.ssm.put_parameter(Name="model", Value="blue", Overwrite=True)["Version"], 2)
    same(world.ssm.get_parameter(Name="model")["Parameter"]["Type"], "String")


@scenario
def a_parameter_is_overwritten_only_on_request(world):
    put(world, "model", "red")
    with refused("ParameterAlreadyExists", 400):
        put(world, "model", "blue")
    same(world.ssm.get_parameter(Name="model")["Parameter"]["Value"], "red")
    same(put(world, "model", "red", Overwrite=True)["Version"], 2)


@scenario
def tags_do_not_go_with_an_overwrite(world):
    with refused("ValidationException", 400, "tags and overwrite can't be used together"):
        put(world, "model", "red", Overwrite=True, Tags=tags({"team": "ml"}))
    put(world, "model", "red", Tags=tags({"team": "ml"}))
    put(world, "model", "blue", Overwrite=True)
    listed = world.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="model")["TagList"]
    same(listed, tags({"team": "ml"}))


@scenario
def a_secret_is_only_read_decrypted(world):
    secret(world, "/app/password", "hunter2")
    for read in (
        lambda decrypted: world.ssm.get_parameter(Name="/app/password", WithDecryption=decrypted)["Parameter"],
        lambda decrypted: world.ssm.get_parameters(Names=["/app/password"], WithDecryption=decrypted)["Parameters"][0],
        lambda decrypted: world.ssm.get_parameters_by_path(Path="/app", WithDecryption=decrypted)["Parameters"][0],
    ):
        same(read(True)["Value"], "hunter2")
        same(read(True)["Type"], "SecureString")
        assert read(False)["Value"] != "hunter2", "given away"


@sandbox_only
def a_ciphertext_says_nothing(world):
    secret(world, "/app/password", "hunter2")
    assert "hunter2" not in world.ssm.get_parameter(Name="/app/password")["Parameter"]["Value"]


@scenario
def a_secret_has_a_key(world):
    secret(world, "one", "v")
    secret(world, "two", "v", KeyId="alias/mine")
    put(world, "three", "v")
    rows = world.ssm.describe_parameters()["Parameters"]
    same({row["Name"]: row.get("KeyId") for row in rows}, {"one": "alias/aws/ssm", "two": "alias/mine", "three": None})


@scenario
def only_a_secret_has_a_key(world):
    with refused("ValidationException", 400):
        put(world, "model", "red", KeyId="alias/mine")


@scenario
def missing_parameters_are_told(world):
    with refused("ParameterNotFound", 400):
        world.ssm.get_parameter(Name="/app/none")
    with refused("ParameterNotFound", 400):
        world.ssm.delete_parameter(Name="/app/none")


@scenario
def a_batch_tells_what_is_missing(world):
    put(world, "one", "1")
    put(world, "two", "2")
    answer = world.ssm.get_parameters(Names=["one", "none", "two"])
    same({row["Name"]: row["Value"] for row in answer["Parameters"]}, {"one": "1", "two": "2"})
    same(answer["InvalidParameters"], ["none"])


@scenario
def a_batch_has_ten_names(world):
    with refused("ValidationException", 400, "length less than or equal to 10"):
        world.ssm.get_parameters(Names=[f"p{n}" for n in range(11)])


@scenario
def versions_are_read_by_number(world):
    put(world, "/app/model", "red")
    put(world, "/app/model", "blue", Overwrite=True)
    first = world.ssm.get_parameter(Name="/app/model:1")["Parameter"]
    same((first["Name"], first["Value"], first["Version"]), ("/app/model", "red", 1))
    with refused("ParameterVersionNotFound", 400):
        world.ssm.get_parameter(Name="/app/model:3")


@scenario
def a_parameter_is_read_by_its_arn(world):
    put(world, "/app/model", "red")
    arn = world.ssm.get_parameter(Name="/app/model")["Parameter"]["ARN"]
    same(world.ssm.get_parameter(Name=arn)["Parameter"]["Value"], "red")


@scenario
def the_oldest_of_a_hundred_versions_is_dropped(world):
    if world.is_sandbox:
        world.control("PATCH", "settings", {"throttling": False})
    put(world, "model", "v1")
    for number in range(2, 102):
        same(put(world, "model", f"v{number}", Overwrite=True)["Version"], number)
    if world.is_sandbox:
        world.control("PATCH", "settings", {"throttling": True})
    same(world.ssm.get_parameter(Name="model:2")["Parameter"]["Value"], "v2")
    with refused("ParameterVersionNotFound", 400):
        world.ssm.get_parameter(Name="model:1")


@scenario
def standard_values_have_4_kb(world):
    put(world, "full", "x" * 4096)
    with refused("ValidationException", 400, "4096"):
        put(world, "over", "x" * 4097)
    same(world.ssm.describe_parameters()["Parameters"][0]["Tier"], "Standard")


@scenario
def advanced_values_have_8_kb(world):
    same(put(world, "full", "x" * 8192, Tier="Advanced")["Tier"], "Advanced")
    with refused("ValidationException", 400, "8192"):
        put(world, "over", "x" * 8193, Tier="Advanced")


@scenario
def the_tier_follows_the_size_on_request(world):
    same(put(world, "small", "x", Tier="Intelligent-Tiering")["Tier"], "Standard")
    same(put(world, "large", "x" * 4097, Tier="Intelligent-Tiering")["Tier"], "Advanced")


@scenario
def a_tier_is_never_lowered(world):
    put(world, "large", "x" * 4097, Tier="Advanced")
    same(put(world, "large", "x", Overwrite=True)["Tier"], "Advanced")
    with refused("ValidationException", 400, "can't downgrade"):
        put(world, "large", "x", Overwrite=True, Tier="Standard")


@scenario
def empty_values_are_refused(world):
    with refused("ValidationException", 400):
        put(world, "empty", "")


@scenario
def reserved_names_are_refused(world):
    for name in ("awsome", "/ssm/model", "SSMx"):
        world.step(1)
        with refused("ValidationException", 400, "can't be prefixed"):
            put(world, name, "red")
    with refused("AccessDeniedException", 400, "No access to reserved parameter name"):
        put(world, "/aws/service/model", "red")


@scenario
def malformed_names_are_refused(world):
    for name in ("two words", "app/model", "/app/", "/app//model", "ümlaut", "/a" * 16):
        world.step(1)
        try:
            put(world, name, "red")
        except world.ssm.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] in ("ValidationException", "HierarchyLevelLimitExceededException")
        else:
            raise AssertionError(f"{name!r} was taken")


@scenario
def a_path_is_looked_through(world):
    for name in ("/app/a", "/app/b", "/app/deep/c", "/apple", "/other/d"):
        put(world, name, "v")
        world.step(1)
    same(sorted(names(world.ssm.get_parameters_by_path(Path="/app")["Parameters"])), ["/app/a", "/app/b"])
    all_below = world.ssm.get_parameters_by_path(Path="/app/", Recursive=True)["Parameters"]
    same(sorted(names(all_below)), ["/app/a", "/app/b", "/app/deep/c"])
    same(world.ssm.get_parameters_by_path(Path="/none")["Parameters"], [])


@scenario
def a_path_comes_in_pages(world):
    for number in range(23):
        put(world, f"/app/p{number:02}", "v")
        world.step(1)
    pages = world.ssm.get_paginator("get_parameters_by_path").paginate(Path="/app")
    sizes = [len(page["Parameters"]) for page in pages]
    same(sum(sizes), 23)
    same(sizes, [10, 10, 3])
    with refused("ValidationException", 400):
        world.ssm.get_parameters_by_path(Path="/app", MaxResults=11)


@scenario
def foreign_tokens_of_paths_are_refused(world):
    with refused("InvalidNextToken", 400):
        world.ssm.get_parameters_by_path(Path="/app", NextToken="nonsense")


@scenario
def relative_paths_are_refused(world):
    with refused("ValidationException", 400):
        world.ssm.get_parameters_by_path(Path="app")


@scenario
def deleting_tells_what_was_there(world):
    put(world, "one", "1")
    put(world, "two", "2")
    answer = world.ssm.delete_parameters(Names=["one", "none"])
    same((answer["DeletedParameters"], answer["InvalidParameters"]), (["one"], ["none"]))
    world.ssm.delete_parameter(Name="two")
    same(world.ssm.describe_parameters()["Parameters"], [])
    same(put(world, "one", "again")["Version"], 1)


@scenario
def tags_come_and_go(world):
    put(world, "/app/model", "red", Tags=tags({"team": "ml"}))
    of = {"ResourceType": "Parameter", "ResourceId": "/app/model"}
    world.ssm.add_tags_to_resource(**of, Tags=tags({"stage": "prod", "team": "web"}))
    listed = {tag["Key"]: tag["Value"] for tag in world.ssm.list_tags_for_resource(**of)["TagList"]}
    same(listed, {"team": "web", "stage": "prod"})
    world.ssm.remove_tags_from_resource(**of, TagKeys=["team", "none"])
    same(world.ssm.list_tags_for_resource(**of)["TagList"], tags({"stage": "prod"}))


@scenario
def tags_of_nothing_are_refused(world):
    of = {"ResourceType": "Parameter", "ResourceId": "/app/none"}
    with refused("InvalidResourceId", 400):
        world.ssm.add_tags_to_resource(**of, Tags=tags({"team": "ml"}))
    with refused("InvalidResourceId", 400):
        world.ssm.list_tags_for_resource(**of)


@scenario
def reserved_tags_are_refused(world):
    with refused("ValidationException", 400):
        put(world, "model", "red", Tags=tags({"aws:x": "y"}))


@scenario
def parameters_are_found_by_filters(world):
    put(world, "/app/a", "v", Tags=tags({"muster.dev:owner-uid": "u-1"}))
    put(world, "/app/deep/b", "v", Tags=tags({"muster.dev:owner-uid": "u-2"}))
    secret(world, "c", "v")

    def found(*filters):
        world.step(1)
        return sorted(names(world.ssm.describe_parameters(ParameterFilters=list(filters))["Parameters"]))

    same(found({"Key": "tag:muster.dev:owner-uid", "Values": ["u-1"]}), ["/app/a"])
    same(found({"Key": "tag:muster.dev:owner-uid", "Values": ["u-1", "u-2"]}), ["/app/a", "/app/deep/b"])
    same(found({"Key": "Path", "Values": ["/app"]}), ["/app/a"])
    same(found({"Key": "Path", "Option": "Recursive", "Values": ["/app"]}), ["/app/a", "/app/deep/b"])
    same(found({"Key": "Name", "Option": "BeginsWith", "Values": ["/app/d"]}), ["/app/deep/b"])
    same(found({"Key": "Type", "Values": ["SecureString"]}), ["c"])
    same(found({"Key": "Type", "Values": ["String"]}, {"Key": "Name", "Option": "Contains", "Values": ["deep"]}), ["/app/deep/b"])


@scenario
def wrong_filters_of_parameters_are_refused(world):
    with refused("InvalidFilterKey", 400):
        world.ssm.describe_parameters(ParameterFilters=[{"Key": "Label", "Values": ["x"]}])
    with refused("InvalidFilterOption", 400):
        world.ssm.describe_parameters(ParameterFilters=[{"Key": "Path", "Option": "Equals", "Values": ["/x"]}])


@scenario
def descriptions_come_in_pages(world):
    for number in range(12):
        put(world, f"p{number:02}", "v")
        world.step(1)
    first = world.ssm.describe_parameters(MaxResults=5)
    same(names(first["Parameters"]), [f"p{number:02}" for number in range(5)])
    second = world.ssm.describe_parameters(MaxResults=50, NextToken=first["NextToken"])
    same(names(second["Parameters"]), [f"p{number:02}" for number in range(5, 12)])
    assert "NextToken" not in second


@scenario
def amazon_publishes_its_images(world):
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    parameter = world.ssm.get_parameter(Name=name)["Parameter"]
    assert parameter["Value"].startswith("ami-"), parameter
    if world.is_sandbox:
        same(parameter["Value"], world.image())
    pages = world.ssm.get_paginator("get_parameters_by_path").paginate(Path="/aws/service/ami-amazon-linux-latest")
    assert name in [parameter["Name"] for page in pages for parameter in page["Parameters"]]


@sandbox_only
def parameters_are_published_on_request(world):
    name = f"/aws/service/{world.account}/image"
    world.control("PUT", "ssm/public/eu-west-1", {"name": name, "value": "ami-00000001"})
    same(world.ssm.get_parameter(Name=name)["Parameter"]["Value"], "ami-00000001")
    same(world.client("ssm", region="us-east-1").get_parameters(Names=[name])["InvalidParameters"], [name])


@scenario
def an_image_parameter_names_an_image(world):
    image = world.image()
    put(world, "image", image, DataType="aws:ec2:image")
    same(world.ssm.get_parameter(Name="image")["Parameter"]["DataType"], "aws:ec2:image")
    with refused("ValidationException", 400):
        put(world, "other", "red", DataType="Image")


@sandbox_only
def accounts_and_regions_have_parameters_of_their_own(world):
    put(world, "model", "red")
    for other in (world.client("ssm", key="AKIASANDBOX999999999995"), world.client("ssm", region="us-east-1")):
        same(other.get_parameters(Names=["model"])["InvalidParameters"], ["model"])


@scenario
def unknown_keys_get_no_parameter(world):
    with refused("UnrecognizedClientException", 400):
        world.client("ssm", key="AKIAUNKNOWN").get_parameter(Name="model")


@sandbox_only
def parameters_are_read_at_a_rate(world):
    reads = {
        "GetParameter": lambda: world.ssm.get_parameter(Name="one"),
        "GetParameters": lambda: world.ssm.get_parameters(Names=["one"]),
        "GetParametersByPath": lambda: world.ssm.get_parameters_by_path(Path="/"),
    }
    served, throttled = 0, set()
    begin = time.monotonic()
    while throttled != set(reads) and served < 2000:
        for name, read in reads.items():
            try:
                read()
                served += 1
            except world.ssm.exceptions.ParameterNotFound:
                served += 1
            except world.ssm.exceptions.ClientError as error:
                same(error.response["Error"]["Code"], "ThrottlingException")
                same(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
                throttled.add(name)
    same(throttled, set(reads))
    # One bucket for all of them: 40 at once, 40 more a second.
    assert served <= 40 * (1 + time.monotonic() - begin) + 1, served


@sandbox_only
def the_journal_hides_values(world):
    secret(world, "/app/password", "hunter2", KeyId="alias/mine")
    (call,) = world.calls("PutParameter", service="ssm")
    same(call["parameters"]["Name"], "/app/password")
    same(call["parameters"]["KeyId"], "alias/mine")
    assert "hunter2" not in str(call), call


@sandbox_only
def a_parameter_call_can_fail_on_request(world):
    world.fault("PutParameter", {"error": {"code": "InvalidKeyId"}}, service="ssm")
    with refused("InvalidKeyId", 400):
        secret(world, "/app/password", "hunter2")
    world.fault("PutParameter", "dropAfter", service="ssm", parameters={"Name": "lost"})
    try:
        put(world, "lost", "v")
    except Exception:  # noqa: BLE001  (the connection is cut)
        pass
    same(world.ssm.get_parameter(Name="lost")["Parameter"]["Version"], 1)
