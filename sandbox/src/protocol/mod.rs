//! How AWS's services are spoken with: signatures, requests and answers in the Query, JSON and CBOR protocols.

pub(crate) mod cbor;
pub(crate) mod json;
pub(crate) mod params;
pub(crate) mod percent;
pub(crate) mod query;
pub(crate) mod response;
pub(crate) mod scope;
pub(crate) mod xml;
