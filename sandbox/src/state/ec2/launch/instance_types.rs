//! Which instance types there are: the enum of the published EC2 model.

use std::collections::HashSet;
use std::sync::LazyLock;

static TYPES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| include_str!("instance_types.txt").lines().collect());

pub(crate) fn exists(instance_type: &str) -> bool {
    TYPES.contains(instance_type)
}

/// Graviton families carry a `g` after their generation: `m7g`, `c6gn`, `t4g`.
pub(crate) fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after_generation =
        family.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_start_matches(|c: char| c.is_ascii_digit());
    if family == "a1" || after_generation.starts_with('g') {
        return "arm64";
    }
    if family.starts_with("mac2") || family.starts_with("mac-m") { "arm64_mac" } else { "x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_tell_their_architecture() {
        for (instance_type, expected) in [
            ("t3.micro", "x86_64"),
            ("t4g.micro", "arm64"),
            ("c7gn.large", "arm64"),
            ("m7i.large", "x86_64"),
            ("g5.xlarge", "x86_64"),
            ("g5g.xlarge", "arm64"),
            ("a1.large", "arm64"),
            ("x2gd.large", "arm64"),
            ("is4gen.large", "arm64"),
            ("im4gn.large", "arm64"),
            ("p4d.24xlarge", "x86_64"),
        ] {
            assert!(exists(instance_type), "{instance_type}");
            assert_eq!(architecture(instance_type), expected, "{instance_type}");
        }
        assert!(!exists("t9.huge"));
    }
}
