import threading
import urllib.error

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError, ResponseStreamingError
from harness import ids, refused, same, sandbox_only


@sandbox_only
def an_error_on_request(world):
    world.fault("DescribeInstances", {"error": {"code": "InternalError"}}, skip=1, count=2)
    world.describe()
    for _ in range(2):
        with refused("InternalError", 500):
            world.describe()
    world.describe()
    outcomes = [call["outcome"] for call in world.calls("DescribeInstances")]
    same(outcomes, ["ok", {"error": "InternalError"}, {"error": "InternalError"}, "ok"])


@sandbox_only
def a_fault_spares_other_accounts(world):
    world.fault("DescribeInstances", {"error": {"code": "UnauthorizedOperation"}})
    world.client("ec2", key="AKIASANDBOX999999999996").describe_instances()
    with refused("UnauthorizedOperation", 403):
        world.describe()


@sandbox_only
def a_call_dropped_before_has_no_effect(world):
    world.image()
    world.fault("RunInstances", "dropBefore")
    try:
        world.run()
    except ConnectionClosedError:
        pass
    else:
        raise AssertionError("the connection must be cut")
    same(world.describe(), [])
    same(world.calls("RunInstances")[0]["outcome"], "droppedBefore")


@sandbox_only
def a_call_dropped_after_was_carried_out(world):
    world.fault("RunInstances", "dropAfter")
    try:
        world.run(ClientToken="lost")
    except ConnectionClosedError:
        pass
    else:
        raise AssertionError("the connection must be cut")
    launched = world.found(client_token="lost")
    same(len(launched), 1)
    same(set(ids(world.run(ClientToken="lost"))), launched)
    same([call["outcome"] for call in world.calls("RunInstances")], ["droppedAfter", "ok"])


@sandbox_only
def a_client_that_retries_launches_once(world):
    world.fault("RunInstances", "dropAfter")
    request = {"ImageId": world.image(), "InstanceType": "t3.micro", "MinCount": 2, "MaxCount": 2}
    launched = world.client("ec2", attempts=3).run_instances(**request, ClientToken="retried")["Instances"]
    same(len(world.calls("RunInstances")), 2)
    same(set(ids(world.describe())), set(ids(launched)))


@sandbox_only
def an_answer_can_be_cut(world):
    world.run()
    world.fault("DescribeInstances", {"truncate": {"bytes": 100}})
    try:
        world.describe()
    except (ResponseStreamingError, ConnectionClosedError):
        pass
    else:
        raise AssertionError("the answer must be cut")
    same(len(world.describe()), 1)


@sandbox_only
def a_held_call_goes_on_when_released(world):
    world.image()
    fault = world.fault("RunInstances", {"hold": {"moment": "before"}})
    answers = []
    launching = threading.Thread(target=lambda: answers.append(world.run()))
    launching.start()
    while world.control("GET", "faults") and not any(f["id"] == fault and f["hits"] for f in world.control("GET", "faults")):
        pass
    same(world.describe(), [])
    same([call["outcome"] for call in world.calls("RunInstances")], ["open"])
    world.control("POST", f"faults/{fault}/release")
    launching.join(10)
    same(ids(answers[0]), ids(world.describe()))


@sandbox_only
def a_call_is_carried_out_though_its_caller_hung_up(world):
    fault = world.fault("RunInstances", {"hold": {"moment": "before"}})
    image = world.image()
    impatient = world.client("ec2", timeout=0.2)
    try:
        impatient.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    except ReadTimeoutError:
        pass
    else:
        raise AssertionError("the call must time out")
    same(world.describe(), [])
    world.control("POST", f"faults/{fault}/release")
    while world.calls("RunInstances")[0]["outcome"] == "open":
        pass
    same(len(world.describe()), 1)


@sandbox_only
def the_journal_tells_who_called_what(world):
    world.run(2)
    call = world.calls("RunInstances")[0]
    same((call["service"], call["operation"], call["region"]), ("ec2", "RunInstances", "eu-west-1"))
    same((call["account"], call["principalArn"]), (world.account, f"arn:aws:iam::{world.account}:root"))
    same((call["parameters"]["MaxCount"], call["outcome"]), ("2", "ok"))
    same(world.control("GET", "calls/counts", account=world.account, operation="RunInstances"), {"ec2:RunInstances": 1})
    same(world.control("GET", "calls", account=world.account, after=call["number"], operation="RunInstances"), [])


@sandbox_only
def a_fault_that_no_call_can_meet_is_refused(world):
    fault = {"service": "ec2", "operation": "RunInstances", "action": "dropBefore"}
    for wrong in (
        {"service": "ec3"},
        {"operation": "RunInstance"},
        {"opration": "RunInstances"},
        {"action": {"error": {"code": "X", "status": 42}}},
        {"action": {"error": {"code": "X", "reason": "y"}}},
        {"action": {"delay": {"millis": 2**64 - 1}}},
    ):
        try:
            world.control("POST", "faults", fault | wrong)
        except urllib.error.HTTPError as error:
            assert error.code in (400, 422), error
        else:
            raise AssertionError(f"{wrong} was taken")


@sandbox_only
def a_step_out_of_the_calendar_is_refused_and_harms_nothing(world):
    try:
        world.control("POST", "clock", {"millis": 2**64 - 1})
    except urllib.error.HTTPError as error:
        same(error.code, 422)
    else:
        raise AssertionError("the step was taken")
    assert world.control("GET", "clock")["now"]
