//! The endpoint as an unmodified SDK sees it.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, ChecksumAlgorithm, CreateBucketConfiguration, Delete, EncodingType, ObjectIdentifier,
    StorageClass,
};

use crate::state::s3::Access;
use crate::{AccountId, CallQuery, Outcome, Sandbox, SandboxConfig};

const REGION: &str = "eu-west-1";
const OWN: &str = "111111111111";
const OTHER: &str = "222222222222";

fn client_in(endpoint: &str, account: &str, region: &'static str) -> Client {
    let account: AccountId = account.parse().unwrap();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static(region))
        .credentials_provider(Credentials::new(account.root_access_key(), "secret", None, None, "test"))
        .build();
    Client::from_conf(config)
}

async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let client = client_in(&sandbox.endpoint(), OWN, REGION);
    sandbox.s3().ensure_bucket(OWN, REGION, "reports").unwrap();
    (sandbox, client)
}

async fn text(client: &Client, key: &str) -> String {
    let object = client.get_object().bucket("reports").key(key).send().await.unwrap();
    String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
}

fn code<T, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    result.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test]
async fn an_object_goes_in_and_comes_out() {
    let (sandbox, client) = start().await;
    let put = client
        .put_object()
        .bucket("reports")
        .key("a b/あ+=&.json")
        .content_type("application/json")
        .metadata("by", "me")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    let got = client.get_object().bucket("reports").key("a b/あ+=&.json").send().await.unwrap();
    assert_eq!(
        (got.e_tag(), got.content_type(), got.content_length()),
        (put.e_tag(), Some("application/json"), Some(5))
    );
    assert_eq!(got.metadata().and_then(|metadata| metadata.get("by")).map(String::as_str), Some("me"));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
    let head = client.head_object().bucket("reports").key("a b/あ+=&.json").send().await.unwrap();
    assert_eq!((head.e_tag(), head.content_length()), (put.e_tag(), Some(5)));
    assert_eq!(sandbox.s3().keys("reports", "").unwrap(), ["a b/あ+=&.json"]);
}

#[tokio::test]
async fn every_checksum_in_a_trailer_is_verified_and_kept() {
    let (_sandbox, client) = start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 200_000]).unwrap();
    for algorithm in ChecksumAlgorithm::values() {
        let algorithm = ChecksumAlgorithm::from(*algorithm);
        let put = client.put_object().bucket("reports").key("k").checksum_algorithm(algorithm.clone());
        // What is streamed from a file, the SDK sends as aws-chunked with the checksum in the trailer.
        let put = put.body(ByteStream::from_path(file.path()).await.unwrap()).send().await;
        match algorithm {
            ChecksumAlgorithm::Crc32
            | ChecksumAlgorithm::Crc32C
            | ChecksumAlgorithm::Crc64Nvme
            | ChecksumAlgorithm::Sha1
            | ChecksumAlgorithm::Sha256 => {
                put.unwrap();
                assert_eq!(text(&client, "k").await.len(), 200_000);
            }
            _ => {}
        }
    }
    let wrong = client.put_object().bucket("reports").key("wrong").checksum_crc32("AAAAAA==");
    let wrong = wrong.body(ByteStream::from_static(b"hello")).send().await;
    assert_eq!(code(wrong), "BadDigest");
    assert_eq!(code(client.get_object().bucket("reports").key("wrong").send().await), "NoSuchKey");
}

#[tokio::test]
async fn writes_can_be_conditional() {
    let (_sandbox, client) = start().await;
    let put = |body: &'static [u8]| client.put_object().bucket("reports").key("k").body(ByteStream::from_static(body));
    let first = put(b"1").if_none_match("*").send().await.unwrap();
    assert_eq!(code(put(b"2").if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(code(put(b"2").if_match("\"nothing\"").send().await), "PreconditionFailed");
    put(b"2").if_match(first.e_tag().unwrap()).send().await.unwrap();
    assert_eq!(text(&client, "k").await, "2");
    let missing = client.put_object().bucket("reports").key("new").if_match("\"x\"").send().await;
    assert_eq!(code(missing), "NoSuchKey");
}

#[tokio::test]
async fn reads_can_be_conditional_and_partial() {
    let (_sandbox, client) = start().await;
    let put = client
        .put_object()
        .bucket("reports")
        .key("k")
        .body(ByteStream::from_static(b"0123456789"))
        .send()
        .await
        .unwrap();
    let etag = put.e_tag().unwrap();
    let get = || client.get_object().bucket("reports").key("k");
    let unchanged = get().if_none_match(etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    get().if_match(etag).send().await.unwrap();
    assert_eq!(code(get().if_match("\"x\"").send().await), "PreconditionFailed");
    for (range, expected, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-100", "56789", "bytes 5-9/10"),
    ] {
        let part = get().range(range).send().await.unwrap();
        assert_eq!(part.content_range(), Some(content_range));
        assert_eq!(part.body.collect().await.unwrap().to_vec(), expected.as_bytes(), "{range}");
    }
    assert_eq!(code(get().range("bytes=10-").send().await), "InvalidRange");
}

#[tokio::test]
async fn ten_thousand_keys_are_ten_pages() {
    let (sandbox, client) = start().await;
    let made = (0..10_000).map(|n| (format!("r/{n:05}.json"), bytes::Bytes::from(format!("{n}"))));
    assert_eq!(sandbox.s3().fill("reports", made).unwrap(), 10_000);
    let mut pages = client.list_objects_v2().bucket("reports").prefix("r/").into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        for object in page.contents() {
            assert!(object.e_tag().is_some() && object.last_modified().is_some() && object.size().is_some());
            keys.push(object.key().unwrap().to_owned());
        }
    }
    assert_eq!(keys.len(), 10_000);
    assert!(keys.is_sorted());
    let lists = sandbox.calls(&CallQuery::operation("s3", "ListObjectsV2"));
    assert_eq!(lists.len(), 10);
    assert!(lists.iter().all(|call| call.parameters["Bucket"] == "reports" && call.parameters["Prefix"] == "r/"));
}

#[tokio::test]
async fn listings_roll_up_and_refuse_tokens_of_others() {
    let (sandbox, client) = start().await;
    for key in ["a", "d/1", "d/2", "e f/1"] {
        sandbox.s3().put("reports", key, "x").unwrap();
    }
    let list = || client.list_objects_v2().bucket("reports").delimiter("/");
    let page = list().send().await.unwrap();
    let prefixes: Vec<&str> = page.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).collect();
    assert_eq!((page.contents().len(), prefixes, page.key_count()), (1, vec!["d/", "e f/"], Some(3)));
    assert_eq!(code(list().continuation_token("made-up").send().await), "InvalidArgument");
    let page = list().start_after("d/1").max_keys(1).send().await.unwrap();
    assert_eq!((page.common_prefixes()[0].prefix(), page.is_truncated()), (Some("d/"), Some(true)));
}

#[tokio::test]
async fn keys_that_xml_cannot_hold_are_listed_as_references_or_encoded() {
    let (sandbox, client) = start().await;
    for key in ["a\u{1}b", "c d+e"] {
        sandbox.s3().put("reports", key, "x").unwrap();
    }
    let listing = || client.list_objects_v2().bucket("reports");
    let keys = |page: ListObjectsV2Output| page.contents().iter().filter_map(|o| o.key.clone()).collect::<Vec<_>>();
    // As a reference: the parser of the SDK reads it, and refuses the character itself.
    assert_eq!(keys(listing().send().await.unwrap()), ["a\u{1}b", "c d+e"]);
    let encoded = listing().encoding_type(EncodingType::Url).send().await.unwrap();
    assert_eq!(keys(encoded), ["a%01b", "c+d%2Be"]);
}

#[tokio::test]
async fn an_archived_object_is_listed_and_cannot_be_read() {
    let (_sandbox, client) = start().await;
    for (key, class) in [("cold", StorageClass::Glacier), ("warm", StorageClass::StandardIa)] {
        let put = client.put_object().bucket("reports").key(key).storage_class(class);
        put.body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    let listed = client.list_objects_v2().bucket("reports").send().await.unwrap();
    let classes: Vec<_> = listed.contents().iter().map(|o| o.storage_class().unwrap().as_str()).collect();
    assert_eq!(classes, ["GLACIER", "STANDARD_IA"]);
    let head = client.head_object().bucket("reports").key("cold").send().await.unwrap();
    assert_eq!(head.storage_class(), Some(&StorageClass::Glacier));
    assert_eq!(code(client.get_object().bucket("reports").key("cold").send().await), "InvalidObjectState");
    assert_eq!(text(&client, "warm").await, "x");
    let copy = || client.copy_object().bucket("reports").key("copy");
    assert_eq!(code(copy().copy_source("reports/cold").send().await), "InvalidObjectState");
    copy().copy_source("reports/warm").send().await.unwrap();
    let copied = client.head_object().bucket("reports").key("copy").send().await.unwrap();
    assert_eq!(copied.storage_class(), None);
}

#[tokio::test]
async fn objects_are_copied_and_deleted() {
    let (sandbox, client) = start().await;
    sandbox.s3().put("reports", "from", "x").unwrap();
    client.copy_object().bucket("reports").key("to").copy_source("reports/from").send().await.unwrap();
    assert_eq!(text(&client, "to").await, "x");
    client.delete_object().bucket("reports").key("nobody").send().await.unwrap();
    let both = ["from", "to"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(both.to_vec())).build().unwrap();
    let deleted = client.delete_objects().bucket("reports").delete(delete).send().await.unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (2, 0));
    client.delete_bucket().bucket("reports").send().await.unwrap();
    assert_eq!(code(client.get_object().bucket("reports").key("to").send().await), "NoSuchBucket");
}

#[tokio::test]
async fn buckets_are_made_where_one_says() {
    let (sandbox, client) = start().await;
    let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuWest1).build();
    let create = |name: &str| client.create_bucket().bucket(name);
    create("mine").create_bucket_configuration(here.clone()).send().await.unwrap();
    assert_eq!(code(create("other").send().await), "IllegalLocationConstraintException");
    assert_eq!(code(create("mine").create_bucket_configuration(here.clone()).send().await), "BucketAlreadyOwnedByYou");
    let stranger = client_in(&sandbox.endpoint(), OTHER, REGION);
    let taken = stranger.create_bucket().bucket("mine").create_bucket_configuration(here).send().await;
    assert_eq!(code(taken), "BucketAlreadyExists");
    let names = client.list_buckets().send().await.unwrap();
    assert_eq!(names.buckets().iter().filter_map(|bucket| bucket.name()).collect::<Vec<_>>(), ["mine", "reports"]);
    assert!(
        sandbox.s3().ensure_bucket(OWN, REGION, "b").unwrap_err().to_string().starts_with("\"b\" is no bucket name")
    );
    client.head_bucket().bucket("mine").send().await.unwrap();
    sandbox.s3().put("mine", "k", "x").unwrap();
    assert_eq!(code(client.delete_bucket().bucket("mine").send().await), "BucketNotEmpty");
}

#[tokio::test]
async fn a_bucket_is_its_owners_until_it_is_opened() {
    let (sandbox, _client) = start().await;
    sandbox.s3().put("reports", "k", "x").unwrap();
    let stranger = client_in(&sandbox.endpoint(), OTHER, REGION);
    let read = || stranger.get_object().bucket("reports").key("k").send();
    let write = || stranger.put_object().bucket("reports").key("new").send();
    assert_eq!(code(read().await), "AccessDenied");
    sandbox.s3().open_bucket("reports", OTHER, Access::Read).unwrap();
    read().await.unwrap();
    assert_eq!(code(write().await), "AccessDenied");
    sandbox.s3().open_bucket("reports", OTHER, Access::ReadWrite).unwrap();
    write().await.unwrap();
    sandbox.s3().close_bucket("reports", OTHER).unwrap();
    assert_eq!(code(read().await), "AccessDenied");
    let refused = sandbox.calls(&CallQuery::operation("s3", "GetObject"));
    assert_eq!(refused.last().unwrap().outcome, Outcome::Error("AccessDenied".into()));
    assert_eq!(refused.last().unwrap().parameters["Key"], "k");
}

#[tokio::test]
async fn a_bucket_of_another_owner_than_expected_is_refused() {
    let (sandbox, client) = start().await;
    sandbox.s3().ensure_bucket(OTHER, REGION, "theirs").unwrap();
    sandbox.s3().open_bucket("theirs", OWN, Access::ReadWrite).unwrap();
    sandbox.s3().put("theirs", "k", "x").unwrap();
    for (owner, expected) in [(OTHER, ""), (OWN, "AccessDenied")] {
        let list = client.list_objects_v2().bucket("theirs").expected_bucket_owner(owner).send().await;
        let put = client.put_object().bucket("theirs").key("new").expected_bucket_owner(owner).send().await;
        let get = client.get_object().bucket("theirs").key("k").expected_bucket_owner(owner).send().await;
        let delete = client.delete_object().bucket("theirs").key("new").expected_bucket_owner(owner).send().await;
        assert_eq!([code(list), code(put), code(get), code(delete)], [expected; 4], "{owner}");
    }
    let missing = client.list_objects_v2().bucket("nowhere").expected_bucket_owner(OWN).send().await;
    assert_eq!(code(missing), "NoSuchBucket");
}

#[tokio::test]
async fn a_bucket_answers_in_its_region_only() {
    let (sandbox, _client) = start().await;
    let elsewhere = client_in(&sandbox.endpoint(), OWN, "us-east-1");
    assert_eq!(code(elsewhere.get_object().bucket("reports").key("k").send().await), "PermanentRedirect");
    let location = elsewhere.get_bucket_location().bucket("reports").send().await.unwrap();
    assert_eq!(location.location_constraint(), Some(&BucketLocationConstraint::EuWest1));
}

#[tokio::test]
async fn two_gigabytes_are_read_as_far_as_the_reader_wants() {
    let (sandbox, client) = start().await;
    sandbox.s3().put_generated("reports", "huge", "{\"instance_id\":\"".into(), 2 << 30).unwrap();
    let page = client.list_objects_v2().bucket("reports").send().await.unwrap();
    assert_eq!(page.contents()[0].size(), Some(2 << 30));
    let object = client.get_object().bucket("reports").key("huge").send().await.unwrap();
    assert_eq!(object.content_length(), Some(2 << 30));
    let mut body = object.body;
    let first = body.try_next().await.unwrap().unwrap();
    assert!(first.starts_with(b"{\"instance_id\":\""));
    let end = client.get_object().bucket("reports").key("huge").range("bytes=-10").send().await.unwrap();
    assert_eq!(end.body.collect().await.unwrap().to_vec(), b"xxxxxxxxxx");
}

#[tokio::test]
async fn last_modified_is_the_sandboxs_time() {
    let config = SandboxConfig { clock: crate::ClockMode::Manual, ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await.unwrap();
    let client = client_in(&sandbox.endpoint(), OWN, REGION);
    sandbox.s3().ensure_bucket(OWN, REGION, "reports").unwrap();
    let put = || client.put_object().bucket("reports").key("k").body(ByteStream::from_static(b"same"));
    let modified = || async {
        let head = client.head_object().bucket("reports").key("k").send().await.unwrap();
        (head.last_modified().unwrap().secs(), head.e_tag().unwrap().to_owned())
    };
    put().send().await.unwrap();
    let (first, etag) = modified().await;
    sandbox.step(std::time::Duration::from_secs(3600));
    put().send().await.unwrap();
    // An identical rewrite keeps the ETag and moves LastModified.
    assert_eq!(modified().await, (first + 3600, etag));
}
