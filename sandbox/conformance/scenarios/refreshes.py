from harness import refused, same, sandbox_only

from scenarios.groups import create, described, mixed, serving, template, version


def start(world, number=None, name="web", **preferences):
    arguments = {"AutoScalingGroupName": name}
    if number is not None:
        specification = {"LaunchTemplateName": "base", "Version": number}
        arguments["DesiredConfiguration"] = {"LaunchTemplate": specification}
    preferences = {"InstanceWarmup": 0} | preferences
    return world.autoscaling.start_instance_refresh(**arguments, Preferences=preferences)["InstanceRefreshId"]


def refresh(world, name="web"):
    return world.autoscaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"][0]


def status(world):
    return refresh(world)["Status"]


def versions(world):
    return sorted(one["LaunchTemplate"]["Version"] for one in described(world)["Instances"] if one["LifecycleState"] == "InService")


def prepared(world, desired=2, **arguments):
    """A group on version 1, and version 2."""
    template(world)
    create(world, desired, **arguments)
    return version(world)


@sandbox_only
def a_refresh_replaces_every_instance(world):
    number = prepared(world, 3)
    before = serving(world)
    made = start(world, number)
    same((status(world), refresh(world)["InstanceRefreshId"]), ("Pending", made))
    world.step(1)
    first = refresh(world)
    same((first["Status"], first["PercentageComplete"], first["InstancesToUpdate"]), ("InProgress", 0, 3))
    same(described(world)["LaunchTemplate"]["Version"], "1")
    world.step(10)
    last = refresh(world)
    same((last["Status"], last["PercentageComplete"], last["InstancesToUpdate"]), ("Successful", 100, 0))
    assert last["EndTime"] > last["StartTime"]
    same(versions(world), [number] * 3)
    assert not serving(world) & before
    # The goal became the group's own.
    same(described(world)["LaunchTemplate"]["Version"], number)


@sandbox_only
def a_refresh_without_a_goal_leaves_an_alias(world):
    template(world)
    create(world, 2, LaunchTemplate={"LaunchTemplateName": "base", "Version": "$Latest"})
    number = version(world)
    start(world)
    world.step(10)
    same((status(world), versions(world)), ("Successful", [number] * 2))
    same(described(world)["LaunchTemplate"]["Version"], "$Latest")
    # A number as the goal pins the group.
    start(world, "1")
    world.step(10)
    same((versions(world), described(world)["LaunchTemplate"]["Version"]), (["1"] * 2, "1"))


@sandbox_only
def a_refresh_keeps_its_percentages(world):
    number = prepared(world, 4)
    start(world, number, MinHealthyPercentage=100, MaxHealthyPercentage=150, InstanceWarmup=60)
    world.step(1)
    world.step(1)
    # Two more than four, until they are warm.
    same(versions(world), ["1"] * 4 + [number] * 2)
    same(refresh(world)["PercentageComplete"], 0)
    world.step(60)
    world.step(1)
    same(refresh(world)["PercentageComplete"], 50)
    same(versions(world), ["1"] * 2 + [number] * 4)
    world.step(120)
    same((status(world), versions(world)), ("Successful", [number] * 4))


@sandbox_only
def without_a_surge_it_ends_before_it_launches(world):
    number = prepared(world, 4)
    start(world, number, MinHealthyPercentage=50, InstanceWarmup=60)
    world.step(1)
    same(versions(world), ["1"] * 2)
    world.step(1)
    same(versions(world), ["1"] * 2 + [number] * 2)
    world.step(60)
    world.step(1)
    same(versions(world), [number] * 4)


@sandbox_only
def one_instance_is_replaced_whatever_the_percentage(world):
    number = prepared(world, 1)
    start(world, number, MinHealthyPercentage=90)
    world.step(10)
    same((status(world), versions(world)), ("Successful", [number]))


@sandbox_only
def one_refresh_at_a_time(world):
    number = prepared(world)
    start(world, number)
    with refused("InstanceRefreshInProgress", 400, "already in progress"):
        start(world, number)
    with refused("ValidationError", 400, "An active instance refresh with a desired configuration exists."):
        world.autoscaling.update_auto_scaling_group(
            AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateName": "base", "Version": number}
        )
    world.step(10)
    start(world, "1")


@sandbox_only
def preferences_are_checked(world):
    number = prepared(world)
    for wrong in (
        {"MaxHealthyPercentage": 110},
        {"MinHealthyPercentage": 90, "MaxHealthyPercentage": 201},
        {"MinHealthyPercentage": 50, "MaxHealthyPercentage": 151},
        {"MinHealthyPercentage": 101},
        {"CheckpointPercentages": [50, 20]},
        {"CheckpointPercentages": [50, 50]},
        {"CheckpointDelay": 60},
        {"CheckpointPercentages": [50], "CheckpointDelay": 172801},
        {"BakeTime": 172801},
        {"ScaleInProtectedInstances": "Terminate"},
        {"StandbyInstances": "Refresh"},
    ):
        with refused("ValidationError", 400):
            start(world, number, **wrong)
    start(world, number, MinHealthyPercentage=90, MaxHealthyPercentage=110, CheckpointPercentages=[20], SkipMatching=True)
    kept = refresh(world)["Preferences"]
    same(kept["CheckpointPercentages"], [20])
    same(kept["CheckpointDelay"], 3600)
    same((kept["SkipMatching"], kept["ScaleInProtectedInstances"], kept["StandbyInstances"]), (True, "Wait", "Wait"))
    same(refresh(world)["DesiredConfiguration"]["LaunchTemplate"]["Version"], number)


@sandbox_only
def rollback_needs_numbers(world):
    number = prepared(world)
    with refused("ValidationError", 400, "AutoRollback parameter cannot be set to true when the DesiredConfiguration"):
        start(world, AutoRollback=True)
    with refused("ValidationError", 400, "$Latest or $Default"):
        start(world, "$Latest", AutoRollback=True)
    create(world, 1, "latest", LaunchTemplate={"LaunchTemplateName": "base", "Version": "$Latest"})
    with refused("ValidationError", 400, "$Latest or $Default"):
        start(world, number, "latest", AutoRollback=True)
    start(world, number, "latest")
    with refused("IrreversibleInstanceRefresh", 400):
        world.autoscaling.rollback_instance_refresh(AutoScalingGroupName="latest")
    start(world)
    with refused("IrreversibleInstanceRefresh", 400):
        world.autoscaling.rollback_instance_refresh(AutoScalingGroupName="web")


@sandbox_only
def an_unknown_goal_is_refused(world):
    prepared(world)
    with refused("ValidationError", 400, "You must use a valid fully-formed launch template."):
        start(world, "9")
    with refused("ValidationError", 400, "AutoScalingGroup name not found"):
        start(world, "1", "nothing")


@sandbox_only
def checkpoints_wait(world):
    number = prepared(world, 4)
    start(world, number, MinHealthyPercentage=50, CheckpointPercentages=[25, 100], CheckpointDelay=600)
    world.step(10)
    waiting = refresh(world)
    same((waiting["Status"], waiting["PercentageComplete"], waiting["InstancesToUpdate"]), ("InProgress", 25, 3))
    assert "checkpoint" in waiting["StatusReason"], waiting
    world.step(500)
    same(versions(world), ["1"] * 3 + [number])
    world.step(110)
    same((status(world), versions(world)), ("Successful", [number] * 4))


@sandbox_only
def a_last_checkpoint_below_a_hundred_leaves_the_rest(world):
    number = prepared(world, 4)
    start(world, number, CheckpointPercentages=[50], CheckpointDelay=60)
    world.step(200)
    same((status(world), versions(world)), ("Successful", ["1"] * 2 + [number] * 2))


@sandbox_only
def matching_instances_are_skipped(world):
    number = prepared(world, 2)
    create(world, 1, "new", LaunchTemplate={"LaunchTemplateName": "base", "Version": number})
    before = serving(world, "new")
    start(world, number, "new", SkipMatching=True)
    world.step(10)
    same((refresh(world, "new")["Status"], serving(world, "new")), ("Successful", before))
    start(world, number, "new")
    world.step(10)
    assert serving(world, "new") != before


@sandbox_only
def it_bakes_before_it_succeeds(world):
    number = prepared(world)
    start(world, number, BakeTime=300)
    world.step(60)
    same((status(world), versions(world)), ("Baking", [number] * 2))
    same(described(world)["LaunchTemplate"]["Version"], "1")
    world.step(300)
    same((status(world), described(world)["LaunchTemplate"]["Version"]), ("Successful", number))


@sandbox_only
def a_cancelled_refresh_waits_for_what_is_on_its_way(world):
    number = prepared(world, 4)
    made = start(world, number, InstanceWarmup=60)
    world.step(2)
    cancel = world.autoscaling.cancel_instance_refresh
    same(cancel(AutoScalingGroupName="web")["InstanceRefreshId"], made)
    same(status(world), "Cancelling")
    with refused("InstanceRefreshInProgress", 400):
        start(world, number)
    world.step(70)
    ended = refresh(world)
    same((ended["Status"], ended["StatusReason"]), ("Cancelled", "Cancelled due to user request."))
    same(versions(world), ["1"] * 3 + [number])
    same(described(world)["LaunchTemplate"]["Version"], "1")
    with refused("ActiveInstanceRefreshNotFound", 400, "No in progress or pending Instance Refresh found"):
        cancel(AutoScalingGroupName="web")


@sandbox_only
def a_refresh_can_be_cancelled_at_once(world):
    number = prepared(world, 4)
    start(world, number, InstanceWarmup=60)
    world.autoscaling.cancel_instance_refresh(AutoScalingGroupName="web")
    same(status(world), "Cancelled")
    assert "StartTime" not in refresh(world)
    start(world, number, InstanceWarmup=60)
    world.step(2)
    world.autoscaling.cancel_instance_refresh(AutoScalingGroupName="web", WaitForTransitioningInstances=False)
    same(status(world), "Cancelled")


@sandbox_only
def a_refresh_is_rolled_back(world):
    number = prepared(world, 4)
    start(world, number, MinHealthyPercentage=50, CheckpointPercentages=[50, 100])
    world.step(10)
    same(versions(world), ["1"] * 2 + [number] * 2)
    made = world.autoscaling.rollback_instance_refresh(AutoScalingGroupName="web")["InstanceRefreshId"]
    turned = refresh(world)
    same((turned["InstanceRefreshId"], turned["Status"]), (made, "RollbackInProgress"))
    details = turned["RollbackDetails"]
    same((details["PercentageCompleteOnRollback"], details["InstancesToUpdateOnRollback"]), (50, 2))
    world.step(10)
    same((status(world), versions(world)), ("RollbackSuccessful", ["1"] * 4))
    same(described(world)["LaunchTemplate"]["Version"], "1")
    with refused("ActiveInstanceRefreshNotFound", 400):
        world.autoscaling.rollback_instance_refresh(AutoScalingGroupName="web")


@sandbox_only
def a_baking_refresh_can_still_be_rolled_back(world):
    number = prepared(world)
    start(world, number, BakeTime=600)
    world.step(60)
    same(status(world), "Baking")
    world.autoscaling.rollback_instance_refresh(AutoScalingGroupName="web")
    world.step(60)
    same((status(world), versions(world)), ("RollbackSuccessful", ["1"] * 2))


def broken(world, **preferences):
    """A refresh to a version whose image is deregistered after the start."""
    template(world)
    create(world, 2)
    image = world.control("POST", "images", {"owner": world.account, "region": "eu-west-1", "name": "mine"})["id"]
    start(world, version(world, ImageId=image), MinHealthyPercentage=50, **preferences)
    world.control("DELETE", f"images/eu-west-1/{image}")


@sandbox_only
def a_refresh_that_cannot_launch_fails_after_an_hour(world):
    broken(world)
    world.step(3000)
    same(status(world), "InProgress")
    world.step(700)
    failed = refresh(world)
    same(failed["Status"], "Failed")
    assert "does not exist" in failed["StatusReason"], failed
    # The group goes on with its own configuration.
    world.step(310)
    same(versions(world), ["1"] * 2)


@sandbox_only
def a_refresh_that_fails_rolls_itself_back(world):
    broken(world, AutoRollback=True)
    world.step(3700)
    turned = refresh(world)
    assert turned["Status"].startswith("Rollback"), turned
    assert "no progress" in turned["RollbackDetails"]["RollbackReason"], turned
    world.step(400)
    same((status(world), versions(world)), ("RollbackSuccessful", ["1"] * 2))


@sandbox_only
def an_alarm_fails_a_refresh(world):
    number = prepared(world, 2)
    start(world, number, AutoRollback=True, AlarmSpecification={"Alarms": ["errors"]}, BakeTime=600)
    world.step(60)
    same(status(world), "Baking")
    alarm = f"alarms/{world.account}/eu-west-1/errors"
    world.control("PUT", alarm, True)
    same(status(world), "RollbackInProgress")
    world.control("PUT", alarm, False)
    world.step(60)
    same(versions(world), ["1"] * 2)
    start(world, number, AlarmSpecification={"Alarms": ["errors"]})
    world.control("PUT", alarm, True)
    world.step(5)
    same(status(world), "Failed")


@sandbox_only
def protected_instances_hold_a_refresh_up(world):
    number = prepared(world, 2)
    kept = sorted(serving(world))[0]
    protect = world.autoscaling.set_instance_protection
    protect(AutoScalingGroupName="web", InstanceIds=[kept], ProtectedFromScaleIn=True)
    start(world, number)
    world.step(60)
    same((status(world), versions(world), refresh(world)["PercentageComplete"]), ("InProgress", ["1", number], 50))
    assert "protected from scale-in" in refresh(world)["StatusReason"]
    world.step(3600)
    same(status(world), "Failed")
    start(world, number, ScaleInProtectedInstances="Ignore")
    world.step(60)
    same(status(world), "Successful")
    assert kept in serving(world)
    start(world, number, ScaleInProtectedInstances="Wait")
    world.step(60)
    protect(AutoScalingGroupName="web", InstanceIds=[kept], ProtectedFromScaleIn=False)
    world.step(60)
    same((status(world), versions(world)), ("Successful", [number] * 2))


@sandbox_only
def protected_instances_are_replaced_on_request(world):
    number = prepared(world, 2, NewInstancesProtectedFromScaleIn=True)
    start(world, number, ScaleInProtectedInstances="Refresh")
    world.step(60)
    same((status(world), versions(world)), ("Successful", [number] * 2))


@sandbox_only
def instances_in_standby_hold_a_refresh_up(world):
    number = prepared(world, 3)
    aside = sorted(serving(world))[0]
    world.autoscaling.enter_standby(AutoScalingGroupName="web", InstanceIds=[aside], ShouldDecrementDesiredCapacity=True)
    start(world, number)
    world.step(60)
    same((status(world), versions(world)), ("InProgress", [number] * 2))
    world.step(3600)
    same(status(world), "Failed")
    start(world, number, StandbyInstances="Ignore", SkipMatching=True)
    world.step(60)
    same(status(world), "Successful")
    assert aside in {one["InstanceId"] for one in described(world)["Instances"]}
    start(world, number, StandbyInstances="Terminate", SkipMatching=True)
    world.step(60)
    same(status(world), "Successful")
    assert aside not in {one["InstanceId"] for one in described(world)["Instances"]}


@sandbox_only
def suspended_processes_hold_a_refresh(world):
    number = prepared(world, 2)
    suspend, resume = world.autoscaling.suspend_processes, world.autoscaling.resume_processes
    for process in ("Launch", "Terminate", "InstanceRefresh"):
        suspend(AutoScalingGroupName="web", ScalingProcesses=[process])
        start(world, number)
        world.step(60)
        same(versions(world), ["1"] * 2)
        world.autoscaling.cancel_instance_refresh(AutoScalingGroupName="web")
        resume(AutoScalingGroupName="web", ScalingProcesses=[process])
    start(world, number)
    suspend(AutoScalingGroupName="web", ScalingProcesses=["InstanceRefresh"])
    world.step(60)
    same(status(world), "Pending")
    resume(AutoScalingGroupName="web")
    world.step(60)
    same((status(world), versions(world)), ("Successful", [number] * 2))


@sandbox_only
def scaling_out_meanwhile_follows_the_goal(world):
    number = prepared(world, 2)
    start(world, number, CheckpointPercentages=[50, 100])
    world.step(10)
    world.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    world.settle()
    same(versions(world), ["1"] + [number] * 3)
    world.step(4000)
    same((status(world), versions(world)), ("Successful", [number] * 4))


@sandbox_only
def a_mixed_policy_can_be_the_goal(world):
    number = prepared(world, 2)
    policy = mixed({"InstanceType": "t3.small"})
    policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"] = number
    world.autoscaling.start_instance_refresh(
        AutoScalingGroupName="web", DesiredConfiguration={"MixedInstancesPolicy": policy}, Preferences={"InstanceWarmup": 0}
    )
    shown = refresh(world)["DesiredConfiguration"]["MixedInstancesPolicy"]["LaunchTemplate"]
    same(shown["Overrides"], [{"InstanceType": "t3.small"}])
    world.step(20)
    same((status(world), versions(world)), ("Successful", [number] * 2))
    same({one["InstanceType"] for one in described(world)["Instances"]}, {"t3.small"})
    assert "MixedInstancesPolicy" in described(world)


@sandbox_only
def refreshes_are_listed_the_newest_first(world):
    prepared(world, 0)
    made = []
    for _ in range(5):
        made.insert(0, start(world, "1"))
        world.step(5)
    describe = world.autoscaling.describe_instance_refreshes
    same([one["InstanceRefreshId"] for one in describe(AutoScalingGroupName="web")["InstanceRefreshes"]], made)
    first = describe(AutoScalingGroupName="web", MaxRecords=2)
    rest = describe(AutoScalingGroupName="web", NextToken=first["NextToken"])
    same([one["InstanceRefreshId"] for page in (first, rest) for one in page["InstanceRefreshes"]], made)
    named = describe(AutoScalingGroupName="web", InstanceRefreshIds=[made[2]])["InstanceRefreshes"]
    same([(one["InstanceRefreshId"], one["Status"]) for one in named], [(made[2], "Successful")])
    with refused("ValidationError", 400):
        describe(AutoScalingGroupName="nothing")
