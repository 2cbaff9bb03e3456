//! Reads the results of a job from S3: the whole listing each time, but only new objects.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::{
    aws::{
        self, Session,
        s3::{Listed, Read, S3},
    },
    crd::worker_job::S3Result,
    ids::Uid,
    kinds::worker_job::results::{Rejection, ResultKey, Results, SIZE_LIMIT, Told, folder, place, told},
    reconcile::context::Context,
    workers::ledger::progress::Progress,
};

/// The maximum number of objects that are read concurrently.
const CONCURRENCY: usize = 16;

/// What was read, with the tag of its content.
type Content = (u64, Result<Told, Rejection>);
pub(super) type Cache = BTreeMap<ResultKey, Content>;

/// The results of indexes that are not final yet.
pub(super) async fn read(
    ctx: &Context,
    session: &Session,
    at: &S3Result,
    (uid, completions): (&Uid, u32),
    progress: &Progress,
    cache: &mut Cache,
) -> Result<Results, aws::Error> {
    let s3 = S3::new(session, ctx.config.timings.call_deadline);
    let folder = folder(at.prefix.as_deref(), uid);
    let mut results = Results::default();
    let mut current = Cache::new();
    let mut page = None;
    loop {
        let listing = s3.list(&at.bucket, &folder, page.as_deref()).await?;
        let mut fresh = Vec::new();
        for object in listing.objects {
            let rest = object.key.strip_prefix(&folder).unwrap_or_default();
            match place(rest, completions) {
                Err(why) => results.reject(&object.key, &why),
                Ok(place) if progress.is_final(place.index) => results.note(&place),
                Ok(place) => match cache.remove(&place).filter(|(tag, _)| *tag == object.tag) {
                    Some(known) => drop(current.insert(place, known)),
                    None => fresh.push((place, object)),
                },
            }
        }
        let mut read = stream::iter(fresh)
            .map(|(place, object)| read_one(&s3, &at.bucket, place, object))
            .buffer_unordered(CONCURRENCY);
        while let Some(entry) = read.next().await {
            match entry {
                Ok(entry) => current.extend(entry),
                Err(error) => {
                    // Objects that were read before the error are not read again.
                    cache.extend(current);
                    return Err(error);
                }
            }
        }
        page = listing.next;
        if page.is_none() {
            break;
        }
    }
    for (place, (_, told)) in &current {
        match told {
            Ok(told) => results.insert(place.clone(), *told),
            Err(why) => results.reject(&format!("{folder}{}/{}", place.index, place.instance), why),
        }
    }
    *cache = current;
    Ok(results)
}

/// `None` if the object no longer exists.
async fn read_one(
    s3: &S3,
    bucket: &str,
    place: ResultKey,
    object: Listed,
) -> Result<Option<(ResultKey, Content)>, aws::Error> {
    let content = match object.size {
        0..=SIZE_LIMIT => s3.read(bucket, &object.key, SIZE_LIMIT).await?,
        _ => Read::TooLarge,
    };
    Ok(match content {
        Read::Body { body, tag, .. } => {
            let told = told(&place, &body);
            Some((place, (tag.unwrap_or(object.tag), told)))
        }
        Read::TooLarge => Some((place, (object.tag, Err(Rejection::TooLarge)))),
        Read::Parameters => Some((place, (object.tag, Err(Rejection::Parameters)))),
        Read::Gone => None,
    })
}
