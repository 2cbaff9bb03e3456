//! What this process remembers of each object from look to look. Lost with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::ids::Uid;

type Table<M> = HashMap<Uid, Arc<tokio::sync::Mutex<M>>>;

/// The memories of all objects of a kind. Whoever looks at an object holds its memory.
#[derive(Debug)]
pub struct Memories<M>(Arc<Mutex<Table<M>>>);

impl<M: Default> Memories<M> {
    pub fn of(&self, uid: &Uid) -> Arc<tokio::sync::Mutex<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.clone()).or_default().clone()
    }

    pub fn forget(&self, uid: &Uid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

impl<M> Default for Memories<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M> Clone for Memories<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
