//! The name of the object that an instance writes.

use crate::config::KeyStyle;
use crate::instance::Instance;

pub fn object_key(prefix: &str, style: KeyStyle, instance: &Instance) -> String {
    let name = match style {
        KeyStyle::InstanceId => instance.instance_id.clone(),
        KeyStyle::InstanceArn => instance.arn(),
    };
    if prefix.is_empty() { format!("{name}.json") } else { format!("{prefix}/{name}.json") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::instance::tests::instance;

    #[rstest]
    #[case("", KeyStyle::InstanceId, "i-0123456789abcdef0.json")]
    #[case("prod/a", KeyStyle::InstanceId, "prod/a/i-0123456789abcdef0.json")]
    #[case("", KeyStyle::InstanceArn, "arn:aws:ec2:ap-northeast-1:111111111111:instance/i-0123456789abcdef0.json")]
    #[case(
        "prod",
        KeyStyle::InstanceArn,
        "prod/arn:aws:ec2:ap-northeast-1:111111111111:instance/i-0123456789abcdef0.json"
    )]
    fn an_instance_has_one_key(#[case] prefix: &str, #[case] style: KeyStyle, #[case] expected: &str) {
        assert_eq!(object_key(prefix, style, &instance()), expected);
    }
}
