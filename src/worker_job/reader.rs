//! Reads the results of a job from S3: the whole listing each time, and of its objects those that are new.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::{
    aws::{
        self, Session,
        s3::{Listed, Read, S3},
    },
    context::Context,
    ids::Uid,
    worker_job::{
        desired::ResultPlace,
        results::{Place, Rejection, Results, SIZE_LIMIT, Told, folder, place, told},
    },
    workers::progress::Progress,
};

/// So many objects are read at once.
const SIDE_BY_SIDE: usize = 16;

/// What was read, and of which content.
pub(super) type Cache = BTreeMap<Place, (u64, Result<Told, Rejection>)>;

/// The results of the indexes that are not final yet.
pub(super) async fn read(
    ctx: &Context,
    session: &Session,
    at: &ResultPlace,
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
                    Some(known) => {
                        current.insert(place, known);
                    }
                    None => fresh.push((place, object)),
                },
            }
        }
        let mut read = stream::iter(fresh)
            .map(|(place, object)| read_one(&s3, &at.bucket, place, object))
            .buffer_unordered(SIDE_BY_SIDE);
        while let Some(entry) = read.next().await {
            match entry {
                Ok(entry) => current.extend(entry),
                Err(error) => {
                    // What was read before one that cannot be is not read again at the next look.
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

type Entry = (Place, (u64, Result<Told, Rejection>));

/// `None` when it is gone by now.
async fn read_one(s3: &S3, bucket: &str, place: Place, object: Listed) -> Result<Option<Entry>, aws::Error> {
    if object.size > SIZE_LIMIT {
        return Ok(Some((place, (object.tag, Err(Rejection::TooLarge)))));
    }
    Ok(match s3.read(bucket, &object.key, SIZE_LIMIT).await? {
        Read::Body { body, tag, .. } => {
            let told = told(&place, &body);
            Some((place, (tag.unwrap_or(object.tag), told)))
        }
        Read::TooLarge => Some((place, (object.tag, Err(Rejection::TooLarge)))),
        Read::Gone => None,
    })
}
