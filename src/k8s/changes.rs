//! Changes that are told to everybody who listens.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{sync::Notify, time::Instant};

/// What changes, told to each listener. A listener gets each change once, however often it happened since the last
/// time, so that nobody who changes something in a loop makes others work.
#[derive(Debug)]
pub struct Changes<T>(Arc<Mutex<Vec<Weak<Pending<T>>>>>);

#[derive(Debug)]
struct Pending<T> {
    changed: Mutex<HashSet<T>>,
    news: Notify,
}

impl<T> Clone for Changes<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Changes<T> {
    pub fn tell(&self, changed: &T) {
        let mut listeners = lock(&self.0);
        listeners.retain(|listener| listener.strong_count() > 0);
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            lock(&listener.changed).insert(changed.clone());
            listener.news.notify_one();
        }
    }

    /// All that changes from now on: the first change at once, and then what has changed in each `pause`.
    pub fn listen(&self, pause: Duration) -> impl Stream<Item = HashSet<T>> + Send + use<T> {
        let pending = Arc::new(Pending { changed: Mutex::default(), news: Notify::new() });
        lock(&self.0).push(Arc::downgrade(&pending));
        stream::unfold((pending, Instant::now()), move |(pending, not_before)| async move {
            pending.news.notified().await;
            tokio::time::sleep_until(not_before).await;
            let changed = std::mem::take(&mut *lock(&pending.changed));
            Some((changed, (pending, Instant::now() + pause)))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn what_changes_in_a_loop_is_told_once_a_pause() {
        let changes = Changes::default();
        let pause = Duration::from_millis(100);
        let mut listener = Box::pin(changes.listen(pause));
        changes.tell(&"app");
        assert_eq!(listener.next().await, Some(HashSet::from(["app"])), "the first change is told at once");
        let told = Instant::now();
        for _ in 0..1000 {
            changes.tell(&"app");
        }
        changes.tell(&"db");
        assert_eq!(listener.next().await, Some(HashSet::from(["app", "db"])));
        // Less by the moment between the first change and the clock above.
        assert!(told.elapsed() >= pause / 2, "{:?}", told.elapsed());
        changes.tell(&"app");
        assert_eq!(listener.next().await, Some(HashSet::from(["app"])));
    }
}
