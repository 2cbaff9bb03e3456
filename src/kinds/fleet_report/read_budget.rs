//! Limits how much all collectors together read at the same time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::aws::{self, s3::Read};

/// The maximum number of concurrent requests to S3. More requests after a cold start time out (aws-sdk-rust#1136).
const REQUESTS: usize = 100;

/// The maximum of bytes that are read at the same time, in KiB, the unit of the permits. What was read counts in the
/// [`MemoryBudget`](super::memory_budget::MemoryBudget).
const BYTES: u32 = 64 << 10;

/// The memory of a request in addition to the object, in KiB: buffers, and growth of the object since it was listed.
const SLACK: u32 = 64;

/// Cheap to clone; clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct ReadBudget {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Default for ReadBudget {
    fn default() -> Self {
        Self { requests: Arc::new(Semaphore::new(REQUESTS)), bytes: Arc::new(Semaphore::new(BYTES as usize)) }
    }
}

impl ReadBudget {
    /// Calls `read` with the number of bytes that it may hold, when there is room for them. An object that is larger
    /// than `listed` is read again, with room for `limit` bytes.
    pub(super) async fn read<F>(&self, listed: u64, limit: u64, read: impl Fn(u64) -> F) -> Result<Read, aws::Error>
    where
        F: Future<Output = Result<Read, aws::Error>>,
    {
        // Neither semaphore is ever closed. A read that holds bytes also holds a request, so it ends without waiting
        // for others.
        let _request = self.requests.acquire().await;
        let expected = listed.saturating_add(u64::from(SLACK) << 10).min(limit);
        let outcome = {
            let _bytes = self.bytes.acquire_many(weight(expected)).await;
            read(expected).await
        };
        match outcome {
            Ok(Read::TooLarge) if expected < limit => {
                let _bytes = self.bytes.acquire_many(weight(limit)).await;
                read(limit).await
            }
            outcome => outcome,
        }
    }
}

fn weight(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(BYTES).saturating_add(SLACK).min(BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use tokio::{sync::Barrier, task::JoinSet};

    use super::*;

    const LARGE: u64 = 16 << 20;

    fn body() -> Read {
        Read::Body { body: Bytes::new(), tag: None, stored: None }
    }

    #[tokio::test]
    async fn a_hundred_small_objects_are_read_at_once() {
        let (budget, barrier) = (ReadBudget::default(), Arc::new(Barrier::new(REQUESTS)));
        let mut reads = JoinSet::new();
        for _ in 0..REQUESTS {
            let (budget, barrier) = (budget.clone(), barrier.clone());
            let read = move |_| {
                let barrier = barrier.clone();
                async move {
                    barrier.wait().await;
                    Ok(body())
                }
            };
            reads.spawn(async move { budget.read(2500, LARGE, read).await });
        }
        let all = tokio::time::timeout(std::time::Duration::from_secs(10), reads.join_all()).await;
        assert_eq!(all.map(|all| all.len()), Ok(REQUESTS));
    }

    /// The most bytes that were held at once while `REQUESTS` objects, listed as `listed` and really `size`, were read.
    async fn most_held(listed: u64, size: u64) -> u64 {
        let budget = ReadBudget::default();
        let held = Arc::new(Mutex::new((0, 0)));
        let mut reads = JoinSet::new();
        for _ in 0..REQUESTS {
            let (budget, held) = (budget.clone(), held.clone());
            let read = move |allowed: u64| {
                let held = held.clone();
                async move {
                    {
                        let mut held = held.lock().unwrap();
                        held.0 += allowed;
                        held.1 = held.1.max(held.0);
                    }
                    tokio::task::yield_now().await;
                    held.lock().unwrap().0 -= allowed;
                    Ok(if size > allowed { Read::TooLarge } else { body() })
                }
            };
            reads.spawn(async move { budget.read(listed, LARGE, read).await });
        }
        let outcomes = reads.join_all().await;
        assert!(outcomes.iter().all(|read| matches!(read, Ok(Read::Body { .. }))), "{outcomes:?}");
        let held = held.lock().unwrap();
        held.1
    }

    #[tokio::test]
    async fn large_objects_wait_for_free_memory() {
        let most = most_held(LARGE, LARGE).await;
        assert!((LARGE * 2..=64 << 20).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn objects_that_have_grown_since_they_were_listed_wait_for_free_memory() {
        let most = most_held(100, LARGE).await;
        assert!((LARGE * 2..=64 << 20).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn an_object_larger_than_the_read_budget_is_read_alone() {
        let read = ReadBudget::default().read(1 << 40, u64::MAX, |_| async { Ok(body()) }).await;
        assert!(matches!(read, Ok(Read::Body { .. })));
    }
}
