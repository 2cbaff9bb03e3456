//! Changes that are told to everybody who listens.

use futures::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// The changes, as they happen. If some were missed, all may have changed, and `all` lists them.
pub fn stream<T: Clone + Send + 'static>(
    changes: Receiver<T>,
    all: impl Fn() -> Vec<T> + Send + Sync + 'static,
) -> impl Stream<Item = T> + Send {
    stream::unfold((changes, all), |(mut changes, all)| async move {
        let changed = match changes.recv().await {
            Ok(changed) => vec![changed],
            Err(RecvError::Lagged(_)) => all(),
            Err(RecvError::Closed) => return None,
        };
        Some((changed, (changes, all)))
    })
    .flat_map(stream::iter)
}
