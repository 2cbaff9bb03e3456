//! The S3 API over the store: translates requests and answers, and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use s3s::dto::{
    Bucket, BucketLocationConstraint, CommonPrefix, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
    CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output, MetadataDirective,
    Object as ListedObject, ObjectStorageClass, Owner, PutObjectInput, PutObjectOutput, StreamingBlob,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::checksum;
use super::dto::{as_match, strong, timestamp};
use super::read::{self, ReadConditions};
use crate::state::s3::listing::{Cursor, ListRequest, PAGE};
use crate::state::s3::{Conditions, Content, Match, Object, ObjectHeaders, S3Caller, S3State, StoreError};

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) state: Arc<S3State>,
}

fn caller<T>(request: &S3Request<T>) -> S3Result<S3Caller> {
    let mut caller = request.extensions.get::<S3Caller>().cloned().ok_or_else(|| {
        s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.")
    })?;
    if let Some(owner) = request.headers.get("x-amz-expected-bucket-owner") {
        caller.expected_owner = Some(String::from_utf8_lossy(owner.as_bytes()).into_owned());
    }
    Ok(caller)
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let caller = caller(&req)?;
        let name = req.input.bucket;
        let constraint =
            req.input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
        check_constraint(constraint.as_ref(), &caller.region)?;
        match self.state.create_bucket(&caller, &name) {
            // Only this region keeps the old answer for a bucket that one has already.
            Err(StoreError::BucketAlreadyOwnedByYou(_)) if caller.region == "us-east-1" => {}
            other => other?,
        }
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let region = self.state.head_bucket(&caller(&req)?, &req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(region), ..HeadBucketOutput::default() }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let region = self.state.locate_bucket(&caller(&req)?, &req.input.bucket)?;
        let location_constraint = (region != "us-east-1").then(|| BucketLocationConstraint::from(region));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let caller = caller(&req)?;
        let buckets = self.state.list_buckets(&caller).into_iter().map(|bucket| Bucket {
            bucket_region: Some(bucket.region),
            creation_date: Some(timestamp(bucket.created)),
            name: Some(bucket.name),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(Owner { display_name: None, id: Some(caller.account) }),
            ..ListBucketsOutput::default()
        }))
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.state.delete_bucket(&caller(&req)?, &req.input.bucket)?;
        Ok(S3Response::with_status(DeleteBucketOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let caller = caller(&req)?;
        let mut input = req.input;
        let body = read_all(input.body.take()).await?;
        let checksum = checksum::take(&mut input);
        checksum::verify_md5(input.content_md5.as_deref(), &body)?;
        checksum::verify(checksum.as_ref(), &body)?;
        let headers = ObjectHeaders {
            content_type: input.content_type.map(|value| value.to_string()),
            content_encoding: input.content_encoding,
            cache_control: input.cache_control,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            checksum,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
        };
        let conditions =
            Conditions { if_match: input.if_match.map(as_match), if_none_match: input.if_none_match.map(as_match) };
        let content = Content::Bytes(body);
        let object = self.state.put_object(&caller, &input.bucket, &input.key, content, headers, &conditions)?;
        Ok(S3Response::new(checksum::answered(
            &object,
            PutObjectOutput { e_tag: Some(strong(&object.etag)), ..PutObjectOutput::default() },
        )))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let caller = caller(&req)?;
        let input = req.input;
        let object = self.state.get_object(&caller, &input.bucket, &input.key)?;
        ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        read::check_class(&object)?;
        let part = read::part(input.range, object.content.size())?;
        let blob = StreamingBlob::wrap(object.content.stream(part.range.clone()));
        Ok(S3Response::new(read::get_output(&object, &part, blob, input.checksum_mode.is_some())))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let caller = caller(&req)?;
        let input = req.input;
        let object = self.state.get_object(&caller, &input.bucket, &input.key)?;
        ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        Ok(S3Response::new(read::head_output(&object)))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let caller = caller(&req)?;
        let input = req.input;
        let if_match = input.if_match.map(as_match);
        self.state.delete_object(&caller, &input.bucket, &input.key, if_match.as_ref())?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = caller(&req)?;
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        if delete.objects.len() > PAGE {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        self.state.head_bucket(&caller, &bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            let if_match = object.e_tag.map(|etag| Match::ETag(etag.into_value()));
            match self.state.delete_object(&caller, &bucket, &object.key, if_match.as_ref()) {
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() }),
                Err(error) => errors.push(delete_error(object.key, error)),
            }
        }
        if delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let caller = caller(&req)?;
        let input = req.input;
        let CopySource::Bucket { bucket: from_bucket, key: from_key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "Copying from an access point is not implemented"));
        };
        let source = self.state.get_object(&caller, from_bucket, from_key)?;
        ReadConditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        }
        .check_copy(&source)?;
        read::check_class(&source)?;
        let replace =
            input.metadata_directive.is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if !replace && **from_bucket == *input.bucket && **from_key == *input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let headers = if replace {
            ObjectHeaders {
                content_type: input.content_type.map(|value| value.to_string()),
                content_encoding: input.content_encoding,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
                checksum: None,
                storage_class: None,
            }
        } else {
            source.headers.map(|headers| (*headers).clone()).unwrap_or_default()
        };
        // A copy has the class of the request, not that of its source.
        let headers =
            ObjectHeaders { storage_class: input.storage_class.map(|class| class.as_str().to_owned()), ..headers };
        let none = Conditions::default();
        let copy = self.state.put_object(&caller, &input.bucket, &input.key, source.content, headers, &none)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(strong(&copy.etag)),
                last_modified: Some(timestamp(copy.last_modified)),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let caller = caller(&req)?;
        let input = req.input;
        let request = list_request(&input)?;
        let output = self.state.list_objects(&caller, &input.bucket, &request, |page| {
            let encode = |text: &str| if input.encoding_type.is_some() { url_encoded(text) } else { text.to_owned() };
            let owner = (input.fetch_owner == Some(true))
                .then(|| Owner { display_name: None, id: Some(caller.account.clone()) });
            ListObjectsV2Output {
                key_count: Some(page.rows() as i32),
                is_truncated: Some(page.next.is_some()),
                next_continuation_token: page.next.as_ref().map(Cursor::token),
                contents: Some(page.objects.iter().map(|(key, object)| listed(encode(key), object, &owner)).collect()),
                common_prefixes: Some(
                    page.common_prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect(),
                ),
                max_keys: Some(request.max_keys as i32),
                prefix: Some(encode(&request.prefix)),
                delimiter: input.delimiter.as_deref().map(encode),
                start_after: input.start_after.as_deref().map(encode),
                continuation_token: input.continuation_token.clone(),
                encoding_type: input.encoding_type.clone(),
                name: Some(input.bucket.clone()),
                request_charged: None,
            }
        })?;
        Ok(S3Response::new(output))
    }
}

fn check_constraint(constraint: Option<&BucketLocationConstraint>, region: &str) -> S3Result<()> {
    let wanted =
        constraint.map(|constraint| if constraint.as_str() == "EU" { "eu-west-1" } else { constraint.as_str() });
    match wanted {
        None | Some("") if region == "us-east-1" => Ok(()),
        Some(wanted) if wanted == region => Ok(()),
        None | Some("") => Err(s3_error!(
            IllegalLocationConstraintException,
            "The unspecified location constraint is incompatible for the region specific endpoint this request was \
             sent to."
        )),
        Some(wanted) => Err(s3_error!(
            IllegalLocationConstraintException,
            "The {wanted} location constraint is incompatible for the region specific endpoint this request was sent to."
        )),
    }
}

fn list_request(input: &ListObjectsV2Input) -> S3Result<ListRequest> {
    let after = match &input.continuation_token {
        None => None,
        Some(token) => Some(
            Cursor::parse(token)
                .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))?,
        ),
    };
    let max_keys = usize::try_from(input.max_keys.unwrap_or(PAGE as i32))
        .map_err(|_| s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647"))?;
    Ok(ListRequest {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        start_after: input.start_after.clone().unwrap_or_default(),
        max_keys: max_keys.min(PAGE),
        after,
    })
}

fn listed(key: String, object: &Object, owner: &Option<Owner>) -> ListedObject {
    ListedObject {
        e_tag: Some(strong(&object.etag)),
        key: Some(key),
        last_modified: Some(timestamp(object.last_modified)),
        owner: owner.clone(),
        size: Some(object.content.size() as i64),
        storage_class: Some(match object.storage_class() {
            Some(class) => ObjectStorageClass::from(class.to_owned()),
            None => ObjectStorageClass::from_static(ObjectStorageClass::STANDARD),
        }),
        ..ListedObject::default()
    }
}

/// As S3 encodes keys when asked for `encoding-type=url`: a space becomes `+`, what is not plain `%XX`, slashes stay.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => encoded.push(byte as char),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn delete_error(key: String, error: StoreError) -> Error {
    let error = S3Error::from(error);
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(str::to_owned),
        version_id: None,
    }
}

async fn read_all(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let mut chunks: Vec<Bytes> =
        body.try_collect().await.map_err(|error| S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error))?;
    Ok(if chunks.len() == 1 { chunks.swap_remove(0) } else { chunks.concat().into() })
}
