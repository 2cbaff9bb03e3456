//! The buckets and objects of all accounts.

mod content;
pub(crate) mod listing;
mod owner;
pub(crate) mod store;
mod sum;

pub use content::Content;
pub use store::{Access, BucketInfo, Conditions, Match, Object, ObjectHeaders, S3Caller, S3State, StoreError};
pub use sum::{Algorithm, Sum};
