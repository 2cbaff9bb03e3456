//! Reads the results of a job from S3: only objects that may count, and of those only new ones.
//!
//! Workers may write any number of objects under any keys. So the listing is bounded, keys are judged by their names, and
//! if there are more than the listing shows, the results of the known instances are read by their keys.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    aws::{
        self, Class, Session,
        advice::{self, Remedy},
        s3::{Listed, Read, S3},
    },
    crd::worker_job::S3Result,
    ids::AccountId,
    kinds::worker_job::{
        launched::{Judgement, Launched},
        results::{Cache, Content, Rejection, ResultKey, Results, SIZE_LIMIT, place, told},
    },
    reconcile::context::Context,
};

/// The maximum number of calls that are made concurrently.
const CONCURRENCY: usize = 16;
/// The maximum number of pages of the listing, 1,000 objects each: twice what the largest job writes without retries.
const PAGES: usize = 20;

/// The results in one folder.
struct Reader<'a> {
    s3: S3,
    bucket: &'a str,
    folder: &'a str,
    completions: u32,
    launched: &'a Launched,
    results: Results,
    /// What is read now.
    current: Cache,
}

/// The results of `launched`.
pub(super) async fn read(
    ctx: &Context,
    (session, owner): (&Session, AccountId),
    at: &S3Result,
    (folder, completions): (&str, u32),
    launched: &Launched,
    cache: &mut Cache,
) -> Result<Results, aws::Error> {
    let s3 = S3::new(session, owner, ctx.config.timings.call_deadline);
    let (results, current) = (Results::default(), Cache::new());
    let mut reader = Reader { s3, bucket: &at.bucket, folder, completions, launched, results, current };
    let until = ctx.clock.monotonic() + ctx.config.timings.call_deadline;
    let done = reader.read_all(cache, || ctx.clock.monotonic() < until).await;
    let Reader { mut results, current, .. } = reader;
    if let Err(error) = done {
        // Objects that were read before the error are not read again.
        cache.extend(current);
        return Err(error);
    }
    for (key, (_, told)) in &current {
        match told {
            Ok(told) => results.insert(key.clone(), *told),
            Err(why @ Rejection::Refused(_)) => results.hold(key.index, &format!("{folder}{key}"), why),
            Err(why) => results.reject(&format!("{folder}{key}"), why),
        }
    }
    // An object that S3 refused to read may become readable without any change of its tag.
    *cache = current;
    cache.retain(|_, (_, told)| !matches!(told, Err(Rejection::Refused(_))));
    Ok(results)
}

impl Reader<'_> {
    async fn read_all(&mut self, cache: &mut Cache, more: impl Fn() -> bool) -> Result<(), aws::Error> {
        let mut page = None;
        for pages in 1.. {
            let listing = self.s3.list(self.bucket, self.folder, page.as_deref()).await?;
            self.read_listed(listing.objects, cache).await?;
            page = listing.next;
            if page.is_none() {
                return Ok(());
            }
            if pages == PAGES || !more() {
                break;
            }
        }
        self.results.crowded = true;
        self.read_expected(cache).await?;
        self.read_sealed(cache).await
    }

    /// Judges the objects by their keys, and reads those that may count and that are new.
    async fn read_listed(&mut self, objects: Vec<Listed>, cache: &mut Cache) -> Result<(), aws::Error> {
        let mut fresh = Vec::new();
        for object in objects {
            let rest = object.key.strip_prefix(self.folder).unwrap_or_default();
            let judged = place(rest, self.completions).map(|key| (self.launched.judge(&key), key));
            match judged {
                Err(why) => self.results.reject(&object.key, &why),
                Ok((Judgement::Rejected(why), key)) => {
                    self.results.reject(&object.key, &why);
                    if why == Rejection::NotKnown {
                        self.results.miss(key);
                    }
                }
                Ok((Judgement::Ignored, _)) => {}
                Ok((Judgement::Counts, key)) => match cache.remove(&key).filter(|(tag, _)| *tag == object.tag) {
                    Some(known) => drop(self.current.insert(key, known)),
                    None => fresh.push((key, object.size, object.tag)),
                },
            }
        }
        self.read_objects(fresh).await
    }

    /// Reads the results of all known instances that the listing did not show.
    async fn read_expected(&mut self, cache: &mut Cache) -> Result<(), aws::Error> {
        let (launched, mut unread) = (self.launched, Vec::new());
        for key in launched.expected() {
            if self.current.contains_key(&key) {
                continue;
            }
            match cache.remove(&key) {
                // It was listed before, and a worker writes its result once.
                Some(known @ (_, Ok(_))) => drop(self.current.insert(key, known)),
                Some((_, Err(_))) | None => unread.push((key, 0, 0)),
            }
        }
        self.read_objects(unread).await
    }

    /// Searches for the results of instances that only the record knows, each below its index. If there are more objects
    /// than one page, the index is held: its result may be among them.
    async fn read_sealed(&mut self, cache: &mut Cache) -> Result<(), aws::Error> {
        let found: BTreeSet<u32> = self.current.keys().map(|key| key.index).collect();
        let sealed: Vec<u32> = self.launched.sealed().filter(|index| !found.contains(index)).collect();
        let (s3, bucket, folder) = (self.s3.clone(), self.bucket, self.folder);
        let pages = stream::iter(sealed).map(|index| {
            let s3 = &s3;
            async move { Ok((index, s3.list(bucket, &format!("{folder}{index}/"), None).await?)) }
        });
        let pages: Vec<_> = pages.buffer_unordered(CONCURRENCY).try_collect().await?;
        for (index, page) in pages {
            self.read_listed(page.objects, cache).await?;
            if page.next.is_some() && !self.current.keys().any(|key| key.index == index) {
                self.results.hold(index, &format!("{folder}{index}/"), &Rejection::Crowded);
            }
        }
        Ok(())
    }

    async fn read_objects(&mut self, objects: Vec<(ResultKey, u64, u64)>) -> Result<(), aws::Error> {
        let (s3, bucket, folder) = (self.s3.clone(), self.bucket, self.folder);
        let read = stream::iter(objects).map(|(key, size, tag)| read_one(&s3, bucket, folder, key, size, tag));
        let mut read = std::pin::pin!(read.buffer_unordered(CONCURRENCY));
        while let Some(entry) = read.next().await {
            self.current.extend(entry?);
        }
        Ok(())
    }
}

/// `None` if the object does not exist.
async fn read_one(
    s3: &S3,
    bucket: &str,
    folder: &str,
    key: ResultKey,
    size: u64,
    tag: u64,
) -> Result<Option<(ResultKey, Content)>, aws::Error> {
    let content = match size {
        0..=SIZE_LIMIT => s3.read(bucket, &format!("{folder}{key}"), SIZE_LIMIT).await,
        _ => Ok(Read::TooLarge),
    };
    Ok(match content {
        Ok(Read::Body { body, tag: read, .. }) => {
            let told = told(&key, &body);
            Some((key, (read.unwrap_or(tag), told)))
        }
        Ok(Read::TooLarge) => Some((key, (tag, Err(Rejection::TooLarge)))),
        Ok(Read::Parameters) => Some((key, (tag, Err(Rejection::Parameters)))),
        Ok(Read::Gone) => None,
        Err(error) if is_about_the_object(&error) => Some((key, (tag, Err(refused(&error))))),
        Err(error) => return Err(error),
    })
}

/// Whether S3 refuses to read this object (an archived storage class, a KMS key, a policy), so that others may be
/// readable.
fn is_about_the_object(error: &aws::Error) -> bool {
    match error.class {
        Class::Denied | Class::InvalidInput | Class::Conflict => true,
        // For example, its KMS key.
        Class::NotFound => error.code != "NoSuchBucket",
        Class::Throttled | Class::NoCapacity | Class::Transient => false,
    }
}

fn refused(error: &aws::Error) -> Rejection {
    // Not the advice for a denial, which is that of a missing permission.
    let remedy = match error.code.as_str() {
        "AccessDenied" => Remedy::default(),
        _ => Remedy { denied: Some("make the object readable".into()), ..Remedy::default() },
    };
    Rejection::Refused(format!("{error}{}", advice::advice(error, &remedy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_one_object_does_not_stand_for_the_others() {
        let error = |class, code: &str| aws::Error {
            operation: "s3:GetObject",
            class,
            code: code.into(),
            message: "no".into(),
        };
        for (class, code, expected) in [
            (Class::Denied, "InvalidObjectState", true),
            (Class::Denied, "AccessDenied", true),
            (Class::NotFound, "KMS.NotFoundException", true),
            (Class::InvalidInput, "KMS.DisabledException", true),
            (Class::InvalidInput, "InvalidRequest", true),
            (Class::NotFound, "NoSuchBucket", false),
            (Class::Throttled, "SlowDown", false),
            (Class::Transient, "InternalError", false),
        ] {
            assert_eq!(is_about_the_object(&error(class, code)), expected, "{code}");
        }
        let why = |code| refused(&error(Class::Denied, code)).to_string();
        assert!(why("AccessDenied").contains("allow s3:GetObject"), "{}", why("AccessDenied"));
        assert!(why("InvalidObjectState").contains("make the object readable"), "{}", why("InvalidObjectState"));
    }
}
