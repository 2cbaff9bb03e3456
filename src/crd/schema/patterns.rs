//! Messages for values that do not match a pattern.

use crate::crd::fields::DURATION_PATTERN;

/// The patterns of the specs, each with the message for a value that does not match.
const PATTERNS: &[(&str, &str)] = &[
    (DURATION_PATTERN, "write a duration like 90s, 5m, 24h or 1h30m"),
    (r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$", "write an AWS region, like eu-west-1"),
    (
        r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
        "write the ARN of an IAM role, like arn:aws:iam::111111111111:role/muster",
    ),
    (r"^[A-Za-z0-9+=,.@:/_-]+$", "an external id has letters, digits and + = , . @ : / _ - only"),
    (r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$", "write the name of a namespace, or * for all"),
    (r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "write lower-case letters, digits and '-', like prod or prod-eu"),
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "write the name of an object: lower-case letters, digits, '-' and '.', like app-config",
    ),
    (r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", "write the name of a bucket, like my-reports: not its ARN or URL"),
    (
        r"^(\*|[a-z0-9][a-z0-9.-]*[a-z0-9])$",
        "write the name of a bucket, like my-reports, or * for any: not its ARN or URL",
    ),
    (r"^[0-9]{12}$", "write the id of an AWS account: 12 digits"),
    (r"^([^/].*/)?$", "write a prefix that ends in '/', like ml/, or leave it out for the whole bucket"),
    (r"^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", "write letters, digits and _ . - only, like app or module_a"),
    (
        r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$",
        "write a prefix like nightly or results/nightly: letters, digits and _ . = - only, no '/' at either end",
    ),
    (r"^[1-9][0-9]{0,9}(Ki|Mi|k|M)?$", "write a size like 512Ki or 1Mi"),
    (r"^[A-Za-z0-9_.-]+$", "write a name of letters, digits and _ . - only, like dbPassword"),
    (r"^(/[A-Za-z0-9_.-]+){1,12}$", "write a path like /app or /app/prod, without a slash at its end"),
    (r"^(\*|(/[A-Za-z0-9_.-]+)+)$", "write a path like /app, or * for all"),
    (
        r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        "write a prefix of keys like app/parameters, without a slash at either end",
    ),
    (r"^(/[A-Za-z0-9_.-]+)+$", "write the name of a parameter, like /lt/web"),
    (
        r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?$",
        "write the ARN of a topic, like arn:aws:sns:eu-west-1:111111111111:ops",
    ),
    (r"^[a-z0-9-]+\.[a-z0-9-]+$", "write an instance type, like m6i.large"),
];

pub(super) fn what_to_write(pattern: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|(known, _)| *known == pattern).map(|(_, message)| *message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_into_a_rule() {
        for (pattern, _) in PATTERNS {
            assert!(regex::Regex::new(pattern).is_ok(), "{pattern}");
            assert!(!pattern.contains('\''), "{pattern} would end the string that the rule has it in");
        }
    }
}
