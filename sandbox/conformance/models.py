"""Holds every answer of the sandbox against AWS's own model of the operation.

boto3 skips what it does not know, so a misspelt element would pass unseen. Here each element must be a member of the
output shape, each value must parse as its type, and each value of an enum must be one of those AWS lists.
"""

import json
import xml.etree.ElementTree as ElementTree

TYPES = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": lambda text: {"true": True, "false": False}[text],
}


def check_answers(client):
    for service in ("ec2", "autoscaling", "sns", "sts", "s3", "ssm", "cloudwatch"):
        client.meta.events.register(f"before-parse.{service}.*", _check)


def check_the_checker(client):
    """An answer with a misspelt element, a wrong type or an unknown enum value must not pass."""
    operation = client.meta.service_model.operation_model("DescribeInstances")
    around = "<R><reservationSet><item><instancesSet><item>{}</item></instancesSet></item></reservationSet></R>"
    for inside, good in (
        ("<instanceId>i-1</instanceId>", True),
        ("<InstanceId>i-1</InstanceId>", False),
        ("<amiLaunchIndex>one</amiLaunchIndex>", False),
        ("<architecture>z80</architecture>", False),
        ("<instanceState><code>16</code></instanceState>", True),
        ("<instanceState><status>16</status></instanceState>", False),
        ("<tagSet><member/></tagSet>", False),
    ):
        try:
            check_document(operation, around.format(inside))
        except AssertionError:
            assert not good, f"{inside} was refused"
        else:
            assert good, f"{inside} passed"


def _check(operation_model, response_dict, **_):
    if response_dict["status_code"] < 300:
        check_document(operation_model, response_dict["body"])


# What values look like in JSON. Python's true is an integer, too.
VALUES = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "double": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "timestamp": lambda value: isinstance(value, (float, int)) and not isinstance(value, bool),
}


def check_the_checker_of_data(client):
    operation = client.meta.service_model.operation_model("GetParameter")
    for inside, good in (
        ({"Name": "a", "Version": 1, "Type": "String", "LastModifiedDate": 1.5}, True),
        ({"name": "a"}, False),
        ({"Version": "1"}, False),
        ({"Version": True}, False),
        ({"Type": "Text"}, False),
        ({"Name": None}, False),
        ({"LastModifiedDate": "now"}, False),
        ([], False),
    ):
        try:
            check_document(operation, json.dumps({"Parameter": inside}))
        except AssertionError:
            assert not good, f"{inside} was refused"
        else:
            assert good, f"{inside} passed"


def _check_data(path, value, shape):
    if shape.type_name == "structure":
        assert isinstance(value, dict), f"{path} is no structure: {value!r}"
        for name, inner in value.items():
            assert name in shape.members, f"{path}.{name} is unknown to AWS's model"
            _check_data(f"{path}.{name}", inner, shape.members[name])
    elif shape.type_name == "list":
        assert isinstance(value, list), f"{path} is no list: {value!r}"
        for inner in value:
            _check_data(f"{path}[]", inner, shape.member)
    elif shape.type_name in VALUES:
        assert VALUES[shape.type_name](value), f"{path} is no {shape.type_name}: {value!r}"
        enum = getattr(shape, "enum", None)
        assert not enum or value in enum, f"{path} is {value!r}, AWS knows {enum}"
    else:
        raise AssertionError(f"{path} has the unexpected type {shape.type_name}")


def check_document(operation, body):
    """Raises AssertionError where the document says what the model does not know."""
    shape = operation.output_shape
    if operation.service_model.resolved_protocol == "json":
        _check_data(operation.name, json.loads(body), shape)
        return
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload is not None:
        shape = shape.members[payload]
    if shape is None or shape.type_name != "structure" or not body:
        return
    root = ElementTree.fromstring(body)
    wrapper = shape.serialization.get("resultWrapper")
    if wrapper is not None:
        allowed = {wrapper, "ResponseMetadata"}
        assert {_name(child) for child in root} <= allowed, f"{operation.name}: more than {allowed} in the answer"
        root = next(child for child in root if _name(child) == wrapper)
    _check_structure(operation.name, root, shape, also={"requestId"})


def _name(element):
    return element.tag.rsplit("}", 1)[-1]


def _check_structure(path, element, shape, also=frozenset()):
    members = {
        member.serialization.get("name", name): member
        for name, member in shape.members.items()
        if "location" not in member.serialization
    }
    seen = set()
    for child in element:
        name = _name(child)
        if name in also:
            continue
        assert name in members, f"{path}.{name} is unknown to AWS's model"
        member = members[name]
        if member.serialization.get("flattened"):
            _check_value(f"{path}.{name}[]", child, member.member)
            continue
        assert name not in seen, f"{path}.{name} is there twice"
        seen.add(name)
        _check_value(f"{path}.{name}", child, member)


def _check_value(path, element, shape):
    text = element.text or ""
    if shape.type_name == "structure":
        _check_structure(path, element, shape)
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            assert _name(child) == item, f"{path} holds {_name(child)}, not {item}"
            _check_value(f"{path}[]", child, shape.member)
    elif shape.type_name == "map":
        for entry in element:
            assert _name(entry) == "entry", f"{path} holds {_name(entry)}, not entry"
            assert [_name(part) for part in entry] == ["key", "value"], f"{path} has a strange entry"
            _check_value(f"{path}.value", entry[1], shape.value)
    elif shape.type_name == "string":
        assert not shape.enum or text in shape.enum, f"{path} is {text!r}, AWS knows {shape.enum}"
    elif shape.type_name == "timestamp":
        assert text.endswith("Z") and "T" in text, f"{path} is no time: {text!r}"
    elif shape.type_name in TYPES:
        try:
            TYPES[shape.type_name](text)
        except (ValueError, KeyError):
            raise AssertionError(f"{path} is no {shape.type_name}: {text!r}") from None
    else:
        raise AssertionError(f"{path} has the unexpected type {shape.type_name}")
