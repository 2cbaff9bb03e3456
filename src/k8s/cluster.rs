//! Calls to the Kubernetes API. Each has a deadline, and an error says which call failed.

use std::{
    fmt::{Debug, Formatter},
    future::Future,
    time::Duration,
};

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::Status,
    runtime::events::Reporter,
};
use serde::de::DeserializeOwned;

use crate::{ids::ObjectName, k8s::written::Written};

/// Why a call to the Kubernetes API failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `operation` completes the sentence.
    #[error("cannot {operation}")]
    Call { operation: String, source: Box<kube::Error> },
    #[error("cannot {operation}: the Kubernetes API server did not answer in time")]
    Deadline { operation: String },
    /// Nothing was written; the newer object must be reconciled instead.
    #[error("the object changed since it was read")]
    Stale,
    #[error("the object does not match the types of this version of muster")]
    Shape { source: serde_json::Error },
}

impl Error {
    pub fn is_not_found(&self) -> bool {
        self.answers(|status| status.code == 404)
    }

    pub fn is_already_exists(&self) -> bool {
        self.answers(|status| status.reason == "AlreadyExists")
    }

    /// The API server refused what was to be written.
    pub fn is_invalid(&self) -> bool {
        self.answers(|status| status.code == 422)
    }

    fn answers(&self, what: impl FnOnce(&Status) -> bool) -> bool {
        matches!(self, Self::Call { source, .. } if matches!(&**source, kube::Error::Api(status) if what(status)))
    }
}

/// The Kubernetes API as this process uses it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// The source of Kubernetes events.
    pub reporter: Reporter,
    /// The deadline of each request; kube sets none.
    pub call_deadline: Duration,
    pub written: Written,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Awaits a call. `operation` completes the sentence "cannot ...".
    ///
    /// # Errors
    /// [`Error::Stale`] for 409; otherwise an error that names the operation.
    pub async fn call<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.call_deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if is_conflict(&status) => Err(Error::Stale),
            Ok(Err(source)) => Err(Error::Call { operation: operation.into(), source: Box::new(source) }),
            Err(_) => Err(Error::Deadline { operation: operation.into() }),
        }
    }

    /// Reads the object that a spec, a status or a tag names; `None` if it does not exist. A text that is not a valid name
    /// names no object. It is not sent, because kube puts the name into the path of the request as it is.
    pub async fn find<K>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let Ok(name) = ObjectName::try_from(name) else { return Ok(None) };
        self.call(&format!("read the {} {name}", K::kind(&())), api.get_opt(name.as_str())).await
    }

    /// The API for `object`.
    pub fn api_of(&self, object: &DynamicObject, resource: &ApiResource) -> Api<DynamicObject> {
        match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}

fn is_conflict(status: &Status) -> bool {
    status.code == 409 && status.reason == "Conflict"
}
