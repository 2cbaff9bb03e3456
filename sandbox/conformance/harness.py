"""What scenarios are written with: clients, a control handle, assertions that read as sentences."""

import contextlib
import json
import time
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import models

REGION = "eu-west-1"
SCENARIOS = []


def scenario(function):
    """Runs against the sandbox and against moto."""
    SCENARIOS.append((function, False))
    return function


def sandbox_only(function):
    """Needs the sandbox's control API, which moto has not."""
    SCENARIOS.append((function, True))
    return function


class World:
    """One endpoint and an account of the scenario's own."""

    def __init__(self, endpoint, account, is_sandbox):
        self.endpoint = endpoint
        self.account = account
        self.is_sandbox = is_sandbox
        self.key = f"AKIASANDBOX{account}"
        self.clients = {}

    def client(self, service, key=None, token=None, region=REGION, attempts=1, timeout=10, signature=None):
        made = (service, key, token, region, attempts, timeout, signature)
        if made not in self.clients:
            self.clients[made] = self._client(*made)
        return self.clients[made]

    def _client(self, service, key, token, region, attempts, timeout, signature):
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=key or self.key,
            aws_secret_access_key="any",
            aws_session_token=token,
            config=Config(
                retries={"total_max_attempts": attempts, "mode": "standard"},
                read_timeout=timeout,
                signature_version=signature,
            ),
        )
        if self.is_sandbox:
            models.check_answers(client)
        return client

    @property
    def ec2(self):
        return self.client("ec2")

    @property
    def autoscaling(self):
        return self.client("autoscaling")

    @property
    def sns(self):
        return self.client("sns")

    @property
    def sts(self):
        return self.client("sts")

    @property
    def s3(self):
        return self.client("s3")

    @property
    def ssm(self):
        return self.client("ssm")

    @property
    def cloudwatch(self):
        return self.client("cloudwatch")

    # What both have.

    def image(self, architecture="x86_64"):
        images = self.ec2.describe_images(
            Owners=["amazon"], Filters=[{"Name": "architecture", "Values": [architecture]}]
        )["Images"]
        return sorted(image["ImageId"] for image in images)[0]

    def subnets(self):
        subnets = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        return sorted(subnets, key=lambda subnet: subnet["AvailabilityZone"])

    def run(self, count=1, **arguments):
        arguments = {"ImageId": self.image(), "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count} | arguments
        return self.ec2.run_instances(**arguments)["Instances"]

    def describe(self, **arguments):
        reservations = self.ec2.describe_instances(**arguments)["Reservations"]
        return [instance for reservation in reservations for instance in reservation["Instances"]]

    def found(self, **filters):
        """The ids that DescribeInstances finds by filters, given as name_with_underscores=value(s)."""
        names = {name: [value] if isinstance(value, str) else value for name, value in filters.items()}
        return self.found_by(*((name.replace("_", "-"), values) for name, values in names.items()))

    def found_by(self, *filters):
        filters = [{"Name": name, "Values": values} for name, values in filters]
        return {instance["InstanceId"] for instance in self.describe(Filters=filters)}

    # The sandbox's own.

    def control(self, method, path, body=None, **query):
        url = f"{self.endpoint}/_sandbox/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def step(self, seconds):
        """Moves the sandbox's clock. In moto transient states pass by themselves."""
        if self.is_sandbox:
            self.control("POST", "clock", {"millis": int(seconds * 1000)})

    def settle(self):
        """Long enough for every transient state of an instance."""
        self.step(2)

    def calls(self, operation, service="ec2"):
        return self.control("GET", "calls", service=service, operation=operation, account=self.account)

    def fault(self, operation, action, service="ec2", **fields):
        body = {"service": service, "operation": operation, "account": self.account, "action": action, "count": 1}
        return self.control("POST", "faults", body | fields)


@contextlib.contextmanager
def refused(code, status=None, message=None):
    """The block must end with this error of AWS."""
    try:
        yield
    except ClientError as error:
        actual = error.response["Error"]["Code"]
        assert actual == code, f"wanted {code}, got {actual}: {error}"
        actual_status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status is None or actual_status == status, f"wanted HTTP {status}, got {actual_status}"
        assert message is None or message in str(error), f"wanted {message!r} in {error}"
    else:
        raise AssertionError(f"wanted {code}, but the call was accepted")


def same(actual, wanted):
    assert actual == wanted, f"wanted {wanted!r}, got {actual!r}"


def ids(instances):
    return [instance["InstanceId"] for instance in instances]


def tags(pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def tagged(resource="instance", **pairs):
    return [{"ResourceType": resource, "Tags": tags(pairs)}]


def eventually(check, seconds=5):
    """Waits for a state, for targets whose clock cannot be moved."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
