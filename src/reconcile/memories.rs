//! Data about each object that this process keeps between reconciles.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::ids::Uid;

type Table<M> = HashMap<Uid, Arc<tokio::sync::Mutex<M>>>;

/// The memories of all objects of a kind. A reconcile locks the memory of its object.
#[derive(Debug)]
pub struct Memories<M>(Mutex<Table<M>>);

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
        Self(Mutex::default())
    }
}
