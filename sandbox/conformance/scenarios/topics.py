import urllib.parse

from harness import refused, same, sandbox_only, scenario


def topic(world, name="alerts", **attributes):
    return world.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]


def fifo(world, **attributes):
    return topic(world, "alerts.fifo", FifoTopic="true", **attributes)


def messages(world, arn):
    return world.control("GET", "messages", topic=arn)


@scenario
def a_topic_is_made_once(world):
    arn = topic(world)
    same(arn, f"arn:aws:sns:eu-west-1:{world.account}:alerts")
    same(topic(world), arn)
    attributes = world.sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    same((attributes["TopicArn"], attributes["Owner"]), (arn, world.account))
    same(attributes["SubscriptionsConfirmed"], "0")


@scenario
def topic_names_are_checked(world):
    for name in ("two words", "n" * 257, "", "alerts.fifo"):
        with refused("InvalidParameter", 400):
            topic(world, name)
    with refused("InvalidParameter", 400):
        topic(world, "alerts", FifoTopic="true")


@scenario
def a_message_is_published(world):
    assert world.sns.publish(TopicArn=topic(world), Message="hello", Subject="Greetings")["MessageId"]


@sandbox_only
def messages_can_be_read(world):
    arn = topic(world)
    first = world.sns.publish(
        TopicArn=arn, Message="hello", Subject="Greetings",
        MessageAttributes={"result": {"DataType": "String", "StringValue": "Failed"}},
    )["MessageId"]
    second = world.sns.publish(TargetArn=arn, Message="again")["MessageId"]
    found = messages(world, arn)
    same([(one["id"], one["subject"], one["message"]) for one in found], [(first, "Greetings", "hello"), (second, None, "again")])
    same(found[0]["attributes"], {"result": ["String", "Failed"]})
    same([one["arn"] for one in world.control("GET", f"topics/{world.account}/eu-west-1")], [arn])
    world.control("DELETE", "messages", topic=arn)
    same(messages(world, arn), [])


@scenario
def a_topic_must_be_there(world):
    arn = f"arn:aws:sns:eu-west-1:{world.account}:nothing"
    with refused("NotFound", 404, "Topic does not exist"):
        world.sns.publish(TopicArn=arn, Message="hello")
    with refused("NotFound", 404):
        world.sns.get_topic_attributes(TopicArn=arn)


@scenario
def subjects_are_one_short_line(world):
    arn = topic(world)
    world.sns.publish(TopicArn=arn, Message="hello", Subject="s" * 99)
    for subject in ("s" * 101, "two\nlines", "grüße"):
        with refused("InvalidParameter", 400, "Subject"):
            world.sns.publish(TopicArn=arn, Message="hello", Subject=subject)


@scenario
def a_subject_is_shorter_than_a_hundred(world):
    with refused("InvalidParameter", 400, "Subject"):
        world.sns.publish(TopicArn=topic(world), Message="hello", Subject="s" * 100)


@scenario
def messages_have_a_size(world):
    arn = topic(world)
    world.sns.publish(TopicArn=arn, Message="m" * 262144)
    with refused("InvalidParameter", 400, "Message too long"):
        world.sns.publish(TopicArn=arn, Message="m" * 262145)


@scenario
def an_empty_message_is_refused(world):
    with refused("InvalidParameter", 400, "Empty message"):
        world.sns.publish(TopicArn=topic(world), Message="")


@scenario
def a_fifo_topic_needs_a_group_and_an_id(world):
    arn = fifo(world)
    with refused("InvalidParameter", 400, "The MessageGroupId parameter is required for FIFO topics"):
        world.sns.publish(TopicArn=arn, Message="hello")
    with refused("InvalidParameter", 400, "ContentBasedDeduplication"):
        world.sns.publish(TopicArn=arn, Message="hello", MessageGroupId="g")
    assert world.sns.publish(TopicArn=arn, Message="hello", MessageGroupId="g", MessageDeduplicationId="d")["MessageId"]


@sandbox_only
def a_repeated_id_publishes_once(world):
    arn = fifo(world)
    once = {"TopicArn": arn, "Message": "hello", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    first = world.sns.publish(**once)
    assert first["SequenceNumber"]
    same(world.sns.publish(**once)["MessageId"], first["MessageId"])
    same(len(messages(world, arn)), 1)
    world.step(301)
    assert world.sns.publish(**once)["MessageId"] != first["MessageId"]
    same([one["groupId"] for one in messages(world, arn)], ["g", "g"])


@sandbox_only
def content_can_be_the_id(world):
    arn = fifo(world, ContentBasedDeduplication="true")
    for text in ("one", "two", "one"):
        world.sns.publish(TopicArn=arn, Message=text, MessageGroupId="g")
    same([one["message"] for one in messages(world, arn)], ["one", "two"])


@scenario
def a_plain_topic_takes_no_id(world):
    with refused("InvalidParameter", 400, "MessageDeduplicationId"):
        world.sns.publish(TopicArn=topic(world), Message="hello", MessageDeduplicationId="d")


@scenario
def a_structured_message_has_a_default(world):
    arn = topic(world)
    world.sns.publish(TopicArn=arn, Message='{"default": "hello"}', MessageStructure="json")
    with refused("InvalidParameter", 400, "No default entry"):
        world.sns.publish(TopicArn=arn, Message='{"email": "hello"}', MessageStructure="json")


@sandbox_only
def a_topic_answers_in_its_own_region_only(world):
    arn = topic(world)
    elsewhere = world.client("sns", region="us-east-1")
    with refused("InvalidParameter", 400, "TopicArn"):
        elsewhere.publish(TopicArn=arn, Message="hello")
    with refused("InvalidParameter", 400, "An ARN must have at least 6 elements, not 1"):
        world.sns.publish(TopicArn="alerts", Message="hello")


@sandbox_only
def topics_of_others_are_not_published_to(world):
    arn = topic(world)
    stranger = world.client("sns", key=f"AKIASANDBOX{int(world.account) + 700_000_000_000}")
    with refused("AuthorizationError", 403, "SNS:Publish"):
        stranger.publish(TopicArn=arn, Message="hello")
    role = world.control("PUT", "roles", {
        "account": world.account, "name": "muster", "allowedPrincipals": ["*"], "deniedActions": ["sns:Publish"],
    })
    credentials = world.sts.assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    denied = world.client("sns", key=credentials["AccessKeyId"], token=credentials["SessionToken"])
    with refused("AuthorizationError", 403, f"is not authorized to perform: SNS:Publish on resource: {arn}"):
        denied.publish(TopicArn=arn, Message="hello")
    same(messages(world, arn), [])


@sandbox_only
def keys_fail_on_request(world):
    arn = topic(world)
    for code, status in (
        ("KMSDisabled", 400), ("KMSInvalidState", 400), ("KMSNotFound", 400), ("KMSAccessDenied", 400),
        ("KMSThrottling", 400), ("KMSOptInRequired", 403),
    ):
        world.fault("Publish", {"error": {"code": code}}, "sns")
        with refused(code, status):
            world.sns.publish(TopicArn=arn, Message="hello")
    same(messages(world, arn), [])


@sandbox_only
def topics_can_be_added(world):
    spec = {"account": world.account, "region": "eu-west-1", "name": "alerts.fifo"}
    arn = world.control("POST", "topics", spec | {"attributes": {"ContentBasedDeduplication": "true"}})
    same(world.sns.get_topic_attributes(TopicArn=arn)["Attributes"]["FifoTopic"], "true")
    world.control("DELETE", f"topics?{urllib.parse.urlencode({'topic': arn})}")
    with refused("NotFound", 404):
        world.sns.get_topic_attributes(TopicArn=arn)
