import datetime
import hashlib
import urllib.request

from botocore.exceptions import ConnectionClosedError, IncompleteReadError, ResponseStreamingError
from harness import REGION, refused, same, sandbox_only, scenario


def bucket(world, name="reports"):
    name = f"{name}-{world.account}"
    world.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def keys(answer):
    return [entry["Key"] for entry in answer.get("Contents", [])]


@scenario
def an_object_is_what_was_put(world):
    s3, name = world.s3, bucket(world)
    body = b'{"instance_id": "i-1"}'
    put = s3.put_object(Bucket=name, Key="a/i-1.json", Body=body, ContentType="application/json", Metadata={"by": "agent"})
    same(put["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
    got = s3.get_object(Bucket=name, Key="a/i-1.json")
    same((got["Body"].read(), got["ETag"], got["ContentLength"]), (body, put["ETag"], len(body)))
    same((got["ContentType"], got["Metadata"]), ("application/json", {"by": "agent"}))
    head = s3.head_object(Bucket=name, Key="a/i-1.json")
    same((head["ETag"], head["ContentLength"], head["LastModified"]), (put["ETag"], len(body), got["LastModified"]))


@scenario
def keys_may_hold_anything(world):
    s3, name = world.s3, bucket(world)
    odd = ["plain", "with space", "plus+sign", "per%cent", "ümlaut/日本", "a//b", "quo'te\"<&>", "?query#hash"]
    for key in odd:
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    for key in odd:
        same(s3.get_object(Bucket=name, Key=key)["Body"].read().decode(), key)
    same(keys(s3.list_objects_v2(Bucket=name)), sorted(odd, key=lambda key: key.encode()))


@scenario
def missing_things_are_named(world):
    s3, name = world.s3, bucket(world)
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=name, Key="none")
    with refused("404", 404):
        s3.head_object(Bucket=name, Key="none")
    for call in (s3.list_objects_v2, lambda **where: s3.get_object(**where, Key="k")):
        with refused("NoSuchBucket", 404):
            call(Bucket=f"none-{world.account}")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket=f"none-{world.account}", Key="k", Body=b"")
    with refused("404", 404):
        s3.head_bucket(Bucket=f"none-{world.account}")


@scenario
def buckets_are_listed_and_removed(world):
    s3, name = world.s3, bucket(world)
    s3.head_bucket(Bucket=name)
    same([found["Name"] for found in s3.list_buckets()["Buckets"]], [name])
    same(s3.get_bucket_location(Bucket=name)["LocationConstraint"], REGION)
    s3.put_object(Bucket=name, Key="k", Body=b"")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    same(s3.list_buckets()["Buckets"], [])


@scenario
def a_bucket_is_made_once(world):
    name = bucket(world)
    with refused("BucketAlreadyOwnedByYou", 409):
        world.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})


@scenario
def pages_of_keys_are_complete(world):
    s3, name = world.s3, bucket(world)
    wanted = [f"p/{n:03}" for n in range(25)]
    for key in wanted:
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    s3.put_object(Bucket=name, Key="q", Body=b"x")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix="p/", PaginationConfig={"PageSize": 10}))
    same([page["KeyCount"] for page in pages], [10, 10, 5])
    same([page["IsTruncated"] for page in pages], [True, True, False])
    same([key for page in pages for key in keys(page)], wanted)
    same(keys(s3.list_objects_v2(Bucket=name, StartAfter="p/022")), ["p/023", "p/024", "q"])
    same(keys(s3.list_objects_v2(Bucket=name, Prefix="none")), [])


@scenario
def delimiters_fold_keys(world):
    s3, name = world.s3, bucket(world)
    for key in ("a/1", "a/2", "b/1", "c"):
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    answer = s3.list_objects_v2(Bucket=name, Delimiter="/")
    same(keys(answer), ["c"])
    same([prefix["Prefix"] for prefix in answer["CommonPrefixes"]], ["a/", "b/"])


@scenario
def listings_tell_size_and_tag(world):
    s3, name = world.s3, bucket(world)
    put = s3.put_object(Bucket=name, Key="k", Body=b"12345")
    entry = s3.list_objects_v2(Bucket=name)["Contents"][0]
    same((entry["Size"], entry["ETag"], entry["StorageClass"]), (5, put["ETag"], "STANDARD"))
    same(entry["LastModified"].replace(microsecond=0), s3.head_object(Bucket=name, Key="k")["LastModified"])


@sandbox_only
def a_rewrite_moves_the_time_and_keeps_the_tag(world):
    s3, name = world.s3, bucket(world)
    first = s3.put_object(Bucket=name, Key="k", Body=b"same")["ETag"]
    before = s3.head_object(Bucket=name, Key="k")["LastModified"]
    world.step(90)
    same(s3.put_object(Bucket=name, Key="k", Body=b"same")["ETag"], first)
    same(s3.head_object(Bucket=name, Key="k")["LastModified"] - before, datetime.timedelta(seconds=90))


@scenario
def writes_can_be_conditional(world):
    s3, name = world.s3, bucket(world)
    first = s3.put_object(Bucket=name, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=name, Key="k", Body=b"2", IfNoneMatch="*")
    same(s3.get_object(Bucket=name, Key="k")["Body"].read(), b"1")
    second = s3.put_object(Bucket=name, Key="k", Body=b"2", IfMatch=first)["ETag"]
    assert second != first
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=name, Key="k", Body=b"3", IfMatch=first)


@scenario
def reads_can_be_conditional(world):
    s3, name = world.s3, bucket(world)
    tag = s3.put_object(Bucket=name, Key="k", Body=b"1")["ETag"]
    with refused("304", 304):
        s3.get_object(Bucket=name, Key="k", IfNoneMatch=tag)
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=name, Key="k", IfMatch='"other"')
    same(s3.get_object(Bucket=name, Key="k", IfMatch=tag)["Body"].read(), b"1")


@scenario
def parts_can_be_read(world):
    s3, name = world.s3, bucket(world)
    s3.put_object(Bucket=name, Key="k", Body=b"0123456789")
    for wanted, content, span in (("bytes=2-4", b"234", "2-4"), ("bytes=7-", b"789", "7-9"), ("bytes=-2", b"89", "8-9")):
        got = s3.get_object(Bucket=name, Key="k", Range=wanted)
        same((got["Body"].read(), got["ContentRange"]), (content, f"bytes {span}/10"))
    with refused("InvalidRange", 416):
        s3.get_object(Bucket=name, Key="k", Range="bytes=10-")


@scenario
def objects_are_deleted_one_by_one_and_together(world):
    s3, name = world.s3, bucket(world)
    for key in "abcd":
        s3.put_object(Bucket=name, Key=key, Body=b"x")
    s3.delete_object(Bucket=name, Key="a")
    s3.delete_object(Bucket=name, Key="a")
    answer = s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "b"}, {"Key": "none"}, {"Key": "c"}]})
    same(sorted(entry["Key"] for entry in answer["Deleted"]), ["b", "c", "none"])
    same(keys(s3.list_objects_v2(Bucket=name)), ["d"])


@scenario
def objects_are_copied(world):
    s3, name = world.s3, bucket(world)
    tag = s3.put_object(Bucket=name, Key="a b", Body=b"x", Metadata={"by": "agent"})["ETag"]
    same(s3.copy_object(Bucket=name, Key="c", CopySource={"Bucket": name, "Key": "a b"})["CopyObjectResult"]["ETag"], tag)
    same(s3.head_object(Bucket=name, Key="c")["Metadata"], {"by": "agent"})


@scenario
def checksums_are_kept(world):
    s3, name = world.s3, bucket(world)
    put = s3.put_object(Bucket=name, Key="k", Body=b"hello", ChecksumAlgorithm="SHA256")
    same(put["ChecksumSHA256"], "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")
    got = s3.get_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
    same((got["Body"].read(), got["ChecksumSHA256"]), (b"hello", put["ChecksumSHA256"]))


@scenario
def wrong_checksums_are_refused(world):
    s3, name = world.s3, bucket(world)
    with refused("BadDigest", 400):
        s3.put_object(Bucket=name, Key="k", Body=b"hello", ChecksumSHA256="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    same(keys(s3.list_objects_v2(Bucket=name)), [])


@scenario
def presigned_urls_work(world):
    s3, name = world.s3, bucket(world)
    s3.put_object(Bucket=name, Key="k", Body=b"hello")
    url = world.client("s3", signature="s3v4").generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"})
    with urllib.request.urlopen(url, timeout=10) as response:
        same(response.read(), b"hello")


@scenario
def unknown_keys_read_nothing(world):
    name = bucket(world)
    with refused("InvalidAccessKeyId", 403):
        world.client("s3", key="AKIAUNKNOWNUNKNOWN00").list_objects_v2(Bucket=name)


@sandbox_only
def buckets_of_other_accounts_are_closed(world):
    name = bucket(world)
    stranger = world.client("s3", key="AKIASANDBOX999999999995")
    with refused("AccessDenied", 403):
        stranger.list_objects_v2(Bucket=name)
    with refused("AccessDenied", 403):
        stranger.put_object(Bucket=name, Key="k", Body=b"x")
    with refused("BucketAlreadyExists", 409):
        stranger.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})


@sandbox_only
def object_calls_have_faults_of_their_own(world):
    s3, name = world.s3, bucket(world)
    s3.put_object(Bucket=name, Key="a", Body=b"x" * 1000)
    s3.put_object(Bucket=name, Key="b", Body=b"x")
    world.fault("GetObject", {"error": {"code": "SlowDown"}}, service="s3", parameters={"Key": "a"})
    s3.get_object(Bucket=name, Key="b")
    with refused("SlowDown", 503):
        s3.get_object(Bucket=name, Key="a")
    world.fault("GetObject", {"truncate": {"bytes": 10}}, service="s3")
    try:
        s3.get_object(Bucket=name, Key="a")["Body"].read()
    except (ResponseStreamingError, IncompleteReadError, ConnectionClosedError):
        pass
    else:
        raise AssertionError("the body must be cut")
    world.fault("PutObject", "dropAfter", service="s3")
    try:
        s3.put_object(Bucket=name, Key="c", Body=b"kept")
    except ConnectionClosedError:
        pass
    else:
        raise AssertionError("the connection must be cut")
    same(s3.get_object(Bucket=name, Key="c")["Body"].read(), b"kept")
    counts = world.control("GET", "calls/counts", service="s3", account=world.account)
    same(counts, {"s3:CreateBucket": 1, "s3:PutObject": 3, "s3:GetObject": 4})
