//! The schemas of tags.

use schemars::{Schema, SchemaGenerator, json_schema};

/// EC2 allows 50 tags per instance; the rest is for muster's own.
const MAX_TAGS: usize = 40;

pub(super) fn tags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_TAGS,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [
            {
                "rule": "self.all(k, size(k) >= 1 && size(k) <= 128)",
                "message": "tag keys must have 1 to 128 characters",
            },
            {
                "rule": "!self.exists(k, k.lowerAscii().startsWith('aws:'))",
                "message": "tag keys must not start with aws:, which AWS reserves",
            },
            {
                "rule": "!self.exists(k, k.lowerAscii().startsWith('muster.dev:'))",
                "message": "tag keys must not start with muster.dev:, which muster reserves",
            },
        ],
    })
}

/// Tags to find resources by.
pub(in crate::crd) fn selector_tags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 10,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [{
            "rule": "self.all(k, size(k) >= 1 && size(k) <= 128)",
            "message": "tag keys must have 1 to 128 characters",
        }],
    })
}
