from harness import refused, same, sandbox_only, scenario, tagged

ROOT = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0", "VolumeSize": 10}}]


def register(world, name, **arguments):
    ec2 = world.ec2
    mappings = ROOT
    if not world.is_sandbox:
        # moto wants the snapshot to be there.
        volume = ec2.create_volume(Size=10, AvailabilityZone="eu-west-1a")["VolumeId"]
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        mappings = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 10}}]
    arguments = {
        "Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": mappings,
    } | arguments
    return ec2.register_image(Name=name, **arguments)["ImageId"]


def named(world, **arguments):
    return sorted(image["Name"] for image in world.ec2.describe_images(**arguments)["Images"])


@scenario
def a_registered_image_is_ones_own(world):
    image = register(world, "worker 1", Description="nightly EC2_BACKUP", TagSpecifications=tagged("image", app="core"))
    found = world.ec2.describe_images(Owners=["self"])["Images"]
    same([one["ImageId"] for one in found], [image])
    same((found[0]["Name"], found[0]["State"], found[0]["OwnerId"]), ("worker 1", "available", world.account))
    same((found[0]["Public"], found[0]["Description"]), (False, "nightly EC2_BACKUP"))
    same(found[0]["Tags"], [{"Key": "app", "Value": "core"}])
    same(found[0]["RootDeviceName"], "/dev/xvda")
    same(world.run(ImageId=image)[0]["ImageId"], image)


@scenario
def images_are_found_by_filters(world):
    register(world, "worker-1", Description="made by EC2_BACKUP today", TagSpecifications=tagged("image", app="core"))
    register(world, "worker-2", Architecture="arm64")
    own = {"Owners": ["self"]}
    for name, value, found in (
        ("name", "worker-*", ["worker-1", "worker-2"]),
        ("name", "worker-1", ["worker-1"]),
        ("description", "*EC2_BACKUP*", ["worker-1"]),
        ("architecture", "arm64", ["worker-2"]),
        ("tag:app", "core", ["worker-1"]),
        ("state", "available", ["worker-1", "worker-2"]),
        ("state", "pending", []),
        ("is-public", "true", []),
    ):
        same(named(world, **own, Filters=[{"Name": name, "Values": [value]}]), found)


@scenario
def owners_are_kept_apart(world):
    register(world, "worker-1")
    same(named(world, Owners=["self"]), ["worker-1"])
    same(named(world, Owners=[world.account]), ["worker-1"])
    assert "worker-1" not in named(world, Owners=["amazon"])
    assert named(world, Owners=["amazon"]), "Amazon has images of its own"


@scenario
def image_ids_are_checked(world):
    with refused("InvalidAMIID.NotFound", 400):
        world.ec2.describe_images(ImageIds=["ami-0123456789abcdef0"])
    with refused("InvalidAMIID.Malformed", 400):
        world.ec2.describe_images(ImageIds=["nonsense"])


@scenario
def image_names_are_taken_once(world):
    register(world, "worker-1")
    with refused("InvalidAMIName.Duplicate", 400):
        register(world, "worker-1")


@scenario
def image_names_are_checked(world):
    for name in ("not, this", "nor#that"):
        with refused("InvalidAMIName.Malformed", 400):
            register(world, name)


@scenario
def an_image_needs_a_root_device(world):
    with refused("InvalidBlockDeviceMapping", 400):
        world.ec2.register_image(Name="worker-1", RootDeviceName="/dev/xvda", Architecture="x86_64")


@scenario
def a_deregistered_image_is_gone(world):
    image = register(world, "worker-1")
    world.ec2.deregister_image(ImageId=image)
    same(named(world, Owners=["self"]), [])
    with refused("InvalidAMIID.NotFound", 400):
        world.run(ImageId=image)


@scenario
def a_deregistered_image_is_not_described(world):
    image = register(world, "worker-1")
    world.ec2.deregister_image(ImageId=image)
    with refused("InvalidAMIID.NotFound", 400):
        world.ec2.describe_images(ImageIds=[image])


@scenario
def an_image_is_deregistered_once(world):
    image = register(world, "worker-1")
    world.ec2.deregister_image(ImageId=image)
    with refused("InvalidAMIID.Unavailable", 400):
        world.ec2.deregister_image(ImageId=image)


@scenario
def public_images_belong_to_others(world):
    with refused("AuthFailure", 403):
        world.ec2.deregister_image(ImageId=world.image())


@scenario
def running_instances_survive_their_image(world):
    image = register(world, "worker-1")
    world.run(ImageId=image)
    world.ec2.deregister_image(ImageId=image)
    same([instance["ImageId"] for instance in world.describe()], [image])


@sandbox_only
def an_image_that_is_not_available_launches_nothing(world):
    spec = {"owner": world.account, "region": "eu-west-1", "name": "worker-1", "state": "pending"}
    image = world.control("POST", "images", spec)["id"]
    same(world.ec2.describe_images(ImageIds=[image])["Images"][0]["State"], "pending")
    with refused("InvalidAMIID.Unavailable", 400):
        world.run(ImageId=image)
    world.control("PUT", f"images/eu-west-1/{image}/state", "available")
    world.run(ImageId=image)


@sandbox_only
def private_images_of_others_are_not_seen(world):
    spec = {"owner": "999999999997", "region": "eu-west-1", "name": f"worker-{world.account}"}
    image = world.control("POST", "images", spec)["id"]
    with refused("InvalidAMIID.NotFound", 400):
        world.ec2.describe_images(ImageIds=[image])
    with refused("AuthFailure", 403):
        world.run(ImageId=image)
    # A public one with a likely name is seen by whoever names no owners.
    world.control("POST", "images", spec | {"name": f"lookalike-{world.account}", "public": True})
    by_name = [{"Name": "name", "Values": [f"lookalike-{world.account}"]}]
    same(len(named(world, Filters=by_name)), 1)
    same(named(world, Owners=["self"], Filters=by_name), [])


@sandbox_only
def images_have_pages(world):
    for n in range(7):
        world.control("POST", "images", {"owner": world.account, "region": "eu-west-1", "name": f"worker-{n}"})
    pages = list(world.ec2.get_paginator("describe_images").paginate(Owners=["self"], PaginationConfig={"PageSize": 5}))
    same([len(page["Images"]) for page in pages], [5, 2])


def image_of(world, owner, name, **spec):
    return world.control("POST", "images", {"owner": owner, "region": "eu-west-1", "name": name} | spec)["id"]


def found_images(world, **arguments):
    return {image["ImageId"] for image in world.ec2.describe_images(**arguments)["Images"]}


@sandbox_only
def the_newest_of_an_owner_is_told_from_a_look_alike(world):
    stranger = f"{int(world.account) + 700_000_000_000}"
    named = [{"Name": "name", "Values": ["web-*"]}]
    old = image_of(world, world.account, "web-1", created="2026-01-01T00:00:00Z")
    new = image_of(world, world.account, "web-2", created="2026-02-01T00:00:00Z", description="EC2_BACKUP nightly")
    public = image_of(world, stranger, "web-9", created="2026-03-01T00:00:00Z", public=True)
    image_of(world, stranger, "web-8", created="2026-03-02T00:00:00Z")
    same(found_images(world, Filters=named), {old, new, public})
    same(found_images(world, Filters=named, Owners=["self"]), {old, new})
    same(found_images(world, Filters=named, Owners=[stranger]), {public})
    images = world.ec2.describe_images(Filters=named, Owners=["self"])["Images"]
    same(max(images, key=lambda image: image["CreationDate"])["ImageId"], new)
    same(found_images(world, Filters=[{"Name": "description", "Values": ["*EC2_BACKUP*"]}], Owners=["self"]), {new})


@sandbox_only
def a_pending_image_is_not_available(world):
    image = image_of(world, world.account, "web-1", state="pending", tags={"app": "web"})
    tagged_web = {"Name": "tag:app", "Values": ["web"]}
    available = {"Name": "state", "Values": ["available"]}
    same(found_images(world, Filters=[tagged_web]), {image})
    same(found_images(world, Filters=[tagged_web, available]), set())
    with refused("InvalidAMIID.Unavailable", 400):
        world.run(ImageId=image)
    world.control("PUT", f"images/eu-west-1/{image}/state", "available")
    same(found_images(world, Filters=[tagged_web, available]), {image})
    world.run(ImageId=image)


@sandbox_only
def a_deprecated_image_launches_and_hides(world):
    stranger = f"{int(world.account) + 700_000_000_000}"
    image = image_of(world, stranger, "web-1", public=True)
    at = world.control("GET", "clock")["now"]
    world.control("PUT", f"images/eu-west-1/{image}/deprecation", at)
    same(found_images(world, Owners=[stranger]), set())
    same(found_images(world, Owners=[stranger], IncludeDeprecated=True), {image})
    assert "DeprecationTime" in world.ec2.describe_images(ImageIds=[image])["Images"][0]
    world.run(ImageId=image)
    world.control("DELETE", f"images/eu-west-1/{image}")
    with refused("InvalidAMIID.NotFound", 400):
        world.run(ImageId=image)


@scenario
def an_image_is_made_of_an_instance(world):
    instance = world.run()[0]["InstanceId"]
    world.settle()
    image = world.ec2.create_image(
        InstanceId=instance, Name="web 1", Description="nightly", TagSpecifications=tagged("image", app="web")
    )["ImageId"]
    if world.is_sandbox:
        same(world.ec2.describe_images(ImageIds=[image])["Images"][0]["State"], "pending")
        with refused("InvalidAMIID.Unavailable", 400):
            world.run(ImageId=image)
    world.settle()
    made = world.ec2.describe_images(ImageIds=[image])["Images"][0]
    same((made["State"], made["Name"], made["Description"], made["OwnerId"]), ("available", "web 1", "nightly", world.account))
    same(made["Tags"], [{"Key": "app", "Value": "web"}])
    same(made["Architecture"], "x86_64")
    same(world.run(ImageId=image)[0]["ImageId"], image)


@scenario
def an_image_of_nothing_is_not_made(world):
    with refused("InvalidInstanceID.NotFound", 400):
        world.ec2.create_image(InstanceId="i-0123456789abcdef0", Name="web 1")


@sandbox_only
def a_backup_becomes_available(world):
    spec = {"owner": world.account, "region": "eu-west-1", "name": "AwsBackup_i-1", "state": "pending"}
    image = world.control("POST", "images", spec | {"availableAfterMillis": 60000})["id"]
    same(found_images(world, Owners=["self"], Filters=[{"Name": "state", "Values": ["available"]}]), set())
    world.step(61)
    same(found_images(world, Owners=["self"], Filters=[{"Name": "state", "Values": ["available"]}]), {image})


@sandbox_only
def a_disabled_image_hides_and_launches_nothing(world):
    image = register(world, "worker-1")
    world.ec2.disable_image(ImageId=image)
    same(found_images(world, Owners=["self"]), set())
    same(found_images(world, Owners=["self"], IncludeDisabled=True), {image})
    same(world.ec2.describe_images(ImageIds=[image], IncludeDisabled=True)["Images"][0]["State"], "disabled")
    with refused("InvalidAMIID.Unavailable", 400):
        world.run(ImageId=image)
    world.ec2.enable_image(ImageId=image)
    world.run(ImageId=image)
    with refused("AuthFailure", 403):
        world.ec2.disable_image(ImageId=world.image())
    with refused("InvalidAMIID.NotFound", 400):
        world.ec2.disable_image(ImageId="ami-0123456789abcdef0")


@sandbox_only
def an_owner_deprecates_an_image(world):
    image = register(world, "worker-1")
    world.ec2.enable_image_deprecation(ImageId=image, DeprecateAt="2999-01-01T00:00:00Z")
    assert world.ec2.describe_images(ImageIds=[image])["Images"][0]["DeprecationTime"].startswith("2999-01-01")
    world.ec2.disable_image_deprecation(ImageId=image)
    assert "DeprecationTime" not in world.ec2.describe_images(ImageIds=[image])["Images"][0]


@sandbox_only
def an_image_fails_to_launch_on_request(world):
    image = register(world, "worker-1")
    path = f"images/eu-west-1/{image}/launch-failure"
    world.control("PUT", path, {"code": "InternalError", "message": "No luck."})
    with refused("InternalError", 500, "No luck."):
        world.run(ImageId=image)
    world.control("DELETE", path)
    world.run(ImageId=image)


@sandbox_only
def who_uses_an_image_is_told(world):
    image, other = register(world, "worker-1"), register(world, "worker-2")
    instance = world.run(ImageId=image)[0]["InstanceId"]
    template = world.ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData={"ImageId": image})
    template = template["LaunchTemplate"]["LaunchTemplateId"]
    for _ in range(2):
        world.ec2.create_launch_template_version(LaunchTemplateName="base", LaunchTemplateData={"ImageId": other})
    world.ssm.put_parameter(Name="/web/image", Value=image, Type="String")
    here = f"eu-west-1:{world.account}"
    arns = {
        "ec2:Instance": f"arn:aws:ec2:{here}:instance/{instance}",
        "ec2:LaunchTemplate": f"arn:aws:ec2:{here}:launch-template/{template}",
        "ssm:Parameter": f"arn:aws:ssm:{here}:parameter/web/image",
    }
    describe = world.ec2.describe_image_references
    found = describe(ImageIds=[image], IncludeAllResourceTypes=True)["ImageReferences"]
    same({one["ResourceType"]: one["Arn"] for one in found}, arns)
    depth = [{"OptionName": "version-depth", "OptionValues": ["2"]}]
    found = describe(
        ImageIds=[image, other], ResourceTypes=[{"ResourceType": "ec2:LaunchTemplate", "ResourceTypeOptions": depth}]
    )["ImageReferences"]
    same([(one["ImageId"], one["Arn"]) for one in found], [(other, arns["ec2:LaunchTemplate"])])
    with refused("InvalidParameterValue", 400):
        describe(ImageIds=[image] * 11, IncludeAllResourceTypes=True)
    with refused("InvalidParameterCombination", 400):
        describe(ImageIds=[image])
