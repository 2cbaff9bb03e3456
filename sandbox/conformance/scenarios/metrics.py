import datetime

from harness import refused, same, sandbox_only

# All on the sandbox only: in moto no instance ever does anything.

PERIOD = 300


def now(world):
    return datetime.datetime.fromisoformat(world.control("GET", "clock")["now"])


def query(instance, period=PERIOD, stat="Average", name="CPUUtilization", **more):
    metric = {
        "Namespace": "AWS/EC2",
        "MetricName": name,
        "Dimensions": [{"Name": "InstanceId", "Value": instance}],
    }
    return {"Id": "m0", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}} | more


def read(world, *queries, minutes=60, **arguments):
    end = now(world)
    span = {"StartTime": end - datetime.timedelta(minutes=minutes), "EndTime": end}
    return world.cloudwatch.get_metric_data(MetricDataQueries=list(queries), **(span | arguments))


def busy(world, percent, ago=0, instance=None):
    """An instance that is so busy since so many minutes, at the beginning of a five minute interval."""
    instance = instance or world.run()[0]["InstanceId"]
    aligned = int(now(world).timestamp()) // PERIOD * PERIOD
    since = datetime.datetime.fromtimestamp(aligned - ago * 60, datetime.timezone.utc)
    world.control("PUT", f"instances/{instance}/cpu", {"percent": percent, "since": since.isoformat()})
    return instance


def values(world, *queries, **arguments):
    return [result["Values"] for result in read(world, *queries, **arguments)["MetricDataResults"]]


@sandbox_only
def cpu_is_reported_every_five_minutes(world):
    instance = busy(world, 40, ago=15)
    (result,) = read(world, query(instance))["MetricDataResults"]
    same((result["Id"], result["Label"], result["StatusCode"]), ("m0", "CPUUtilization", "Complete"))
    same(result["Values"], [40.0, 40.0, 40.0])
    times = result["Timestamps"]
    same([(a - b).total_seconds() for a, b in zip(times, times[1:])], [300.0, 300.0])
    same(times[0].timestamp() % PERIOD, 0.0)


@sandbox_only
def the_order_is_chosen(world):
    instance = busy(world, 40, ago=10)
    busy(world, 80, ago=5, instance=instance)
    same(values(world, query(instance)), [[80.0, 40.0]])
    same(values(world, query(instance), ScanBy="TimestampAscending"), [[40.0, 80.0]])


@sandbox_only
def periods_and_statistics_are_chosen(world):
    instance = busy(world, 10, ago=120)
    busy(world, 90, ago=30, instance=instance)
    hour = int(now(world).timestamp()) // 3600 * 3600
    span = {
        "StartTime": datetime.datetime.fromtimestamp(hour - 3600, datetime.timezone.utc),
        "EndTime": datetime.datetime.fromtimestamp(hour, datetime.timezone.utc),
    }
    queries = [query(instance, 3600, stat, Id=stat.lower()) for stat in ("Minimum", "Maximum", "SampleCount")]
    lows, highs, counts = values(world, *queries, **span)
    assert len(lows) == len(highs) == 1 and lows[0] <= highs[0], (lows, highs)
    same(counts, [12.0])


@sandbox_only
def without_reports_there_are_no_values(world):
    instance = world.run()[0]["InstanceId"]
    (result,) = read(world, query(instance))["MetricDataResults"]
    same((result["Values"], result["Timestamps"], result["StatusCode"]), ([], [], "Complete"))
    same(values(world, query("i-0123456789abcdef0"), query(instance, name="NetworkIn", Id="m1")), [[], []])


@sandbox_only
def cpu_of_others_is_not_shown(world):
    instance = busy(world, 40, ago=15)
    end = now(world)
    other = world.client("cloudwatch", key="AKIASANDBOX999999999994")
    span = {"StartTime": end - datetime.timedelta(hours=1), "EndTime": end}
    same(other.get_metric_data(MetricDataQueries=[query(instance)], **span)["MetricDataResults"][0]["Values"], [])


@sandbox_only
def values_come_late(world):
    instance = busy(world, 40, ago=15)
    same(len(values(world, query(instance))[0]), 3)
    try:
        world.control("PUT", "metrics-lag", {"millis": 600_000})
        same(len(values(world, query(instance))[0]), 1)
    finally:
        world.control("PUT", "metrics-lag", {"millis": 0})


@sandbox_only
def reports_may_end(world):
    instance = busy(world, 40, ago=15)
    busy(world, None, ago=5, instance=instance)
    same(values(world, query(instance)), [[40.0, 40.0]])


@sandbox_only
def five_hundred_at_a_time(world):
    instance = busy(world, 40, ago=5)
    many = [query(instance, Id=f"m{n}") for n in range(500)]
    same(values(world, *many), [[40.0]] * 500)
    with refused("ValidationError", 400):
        read(world, *many, query(instance, Id="m500"))


@sandbox_only
def data_points_come_in_pages(world):
    instance = busy(world, 40, ago=15)
    queries = [query(instance), query(instance, stat="Maximum", Id="m1")]
    first = read(world, *queries, MaxDatapoints=4)
    shown = [(row["Id"], len(row["Values"]), row["StatusCode"]) for row in first["MetricDataResults"]]
    same(shown, [("m0", 3, "Complete"), ("m1", 1, "PartialData")])
    second = read(world, *queries, MaxDatapoints=4, NextToken=first["NextToken"])
    shown = [(row["Id"], len(row["Values"]), row["StatusCode"]) for row in second["MetricDataResults"]]
    same(shown, [("m1", 2, "Complete")])
    assert "NextToken" not in second


@sandbox_only
def wrong_questions_are_refused(world):
    good = query("i-0123456789abcdef0")
    for bad in (
        {**good, "Id": "M0"},
        {**good, "MetricStat": {**good["MetricStat"], "Period": 90}},
        {**good, "MetricStat": {**good["MetricStat"], "Stat": "Mean"}},
    ):
        with refused("InvalidParameterValue", 400):
            read(world, bad)
    with refused("MissingParameter", 400):
        read(world, {"Id": "m0"})
    with refused("ValidationError", 400):
        read(world, good, good)
    with refused("ValidationError", 400):
        read(world, good, StartTime=now(world), EndTime=now(world))


@sandbox_only
def unknown_keys_get_no_metrics(world):
    end = now(world)
    span = {"StartTime": end - datetime.timedelta(hours=1), "EndTime": end}
    with refused("InvalidClientTokenId", 403):
        world.client("cloudwatch", key="AKIAUNKNOWN").get_metric_data(
            MetricDataQueries=[query("i-0123456789abcdef0")], **span
        )


@sandbox_only
def a_metrics_call_can_fail_on_request(world):
    world.fault("GetMetricData", {"error": {"code": "AccessDenied"}}, service="cloudwatch")
    with refused("AccessDenied", 403):
        read(world, query("i-0123456789abcdef0"))
    (call,) = world.calls("GetMetricData", service="cloudwatch")
    same((call["outcome"], call["parameters"]["MetricDataQueries"]), ({"error": "AccessDenied"}, "1"))
