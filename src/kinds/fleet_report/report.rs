//! One report: the values of an object in a bucket, or why the object does not count.

use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use crate::{
    crd::fleet_report::{RejectionReason, Trust},
    kinds::fleet_report::{
        desired::{Column, Reading},
        steps::{self, Steps, TooComplex, VALUES},
        time,
    },
};

/// The maximum error of a clock. A report from further in the future would count as the newest for too long.
const CLOCK_SKEW_MINUTES: i64 = 5;

/// Values are compared by this many bytes.
const VALUE_LIMIT: usize = 1024;

/// The maximum number of values of a report that are kept, and of their bytes.
pub(super) const KEPT: usize = 256;
const KEPT_BYTES: usize = 16 << 10;

/// The steps that a pattern of a grouping takes for a byte of its text.
const PATTERN: u64 = 64;

/// The values of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) time: Timestamp,
    /// Pairs of a position in [`Reading::columns`] and a value, without duplicates. A column without a value has no
    /// pair.
    pub(super) values: Vec<(u16, String)>,
    /// It has more values, which do not count.
    pub(super) cut: bool,
}

/// Why an object does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Rejection {
    pub(super) reason: RejectionReason,
    pub(super) message: String,
}

impl Rejection {
    pub(super) fn new(reason: RejectionReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(RejectionReason::TooLarge, format!("it is larger than the {limit} bytes of limits.objectSize"))
    }
}

impl From<TooComplex> for Rejection {
    fn from(limit: TooComplex) -> Self {
        Self::new(RejectionReason::TooComplex, limit.to_string())
    }
}

/// The instance of an object: the last part of its key, without `.json`.
///
/// # Errors
/// When the source trusts only keys that a bucket policy can restrict to one instance, and this is not one.
pub(super) fn instance(key: &str, trust: Trust) -> Result<&str, Rejection> {
    let (folder, last) = key.rsplit_once('/').unwrap_or(("", key));
    let name = last.strip_suffix(".json").unwrap_or(last);
    let trusted = match trust {
        Trust::AnyKey => true,
        Trust::PerInstanceKey => last.len() > name.len() && is_instance_arn(folder.rsplit('/').next(), name),
    };
    if trusted {
        return Ok(name);
    }
    let message = "its key does not end in the ARN of an instance and .json, and the source trusts PerInstanceKey only";
    Err(Rejection::new(RejectionReason::UntrustedKey, message))
}

/// `arn:aws:ec2:eu-west-1:111111111111:instance/i-0123456789abcdef0`, cut at its slash.
fn is_instance_arn(front: Option<&str>, id: &str) -> bool {
    let parts: Vec<&str> = front.unwrap_or_default().split(':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let number = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    (arn, service, resource) == ("arn", "ec2", "instance")
        && partition.starts_with("aws")
        && !region.is_empty()
        && number(account)
        && crate::ids::InstanceId::try_from(id).is_ok()
}

impl Reading {
    /// Reads the report `body` of `instance`. `stored` is when S3 stored it.
    ///
    /// # Errors
    /// When the object is not a report, or has the identity of another instance.
    pub(super) fn read(&self, instance: &str, stored: Timestamp, body: &[u8]) -> Result<Report, Rejection> {
        if body.len() as u64 > self.object_size {
            return Err(Rejection::too_large(self.object_size));
        }
        if steps::values(body) > VALUES {
            return Err(TooComplex::Values.into());
        }
        let report = parse(body)?;
        let mut steps = Steps::default();
        self.check_identity(instance, &report, &mut steps)?;
        let time = self.time(stored, &report, &mut steps)?;
        let (mut values, mut bytes, mut cut) = (Vec::new(), 0, false);
        for (number, column) in self.columns.iter().enumerate() {
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            let (found, more) = column.path.find(&report, &mut steps)?;
            cut |= more;
            for found in found {
                let Some(value) = column.value(found, &mut steps)? else { continue };
                if values.iter().any(|(n, v)| *n == number && *v == value) {
                    continue;
                }
                bytes += value.len();
                if values.len() == KEPT || bytes > KEPT_BYTES {
                    return Ok(Report { time, values, cut: true });
                }
                values.push((number, value));
            }
        }
        Ok(Report { time, values, cut })
    }

    fn check_identity(&self, instance: &str, report: &Value, steps: &mut Steps) -> Result<(), Rejection> {
        let Some(path) = &self.identity else { return Ok(()) };
        let (ids, more) = path.find(report, steps)?;
        if more {
            return Err(TooComplex::Values.into());
        }
        if ids.is_empty() {
            return Err(Rejection::new(
                RejectionReason::NoIdentity,
                format!("it has no instance id at {}", path.as_str()),
            ));
        }
        match ids.into_iter().find(|id| id.as_str() != Some(instance)) {
            None => Ok(()),
            Some(other) => {
                let other = text(other).unwrap_or_default();
                let message = format!("it has the id {other:?} at {}, but its key has {instance:?}", path.as_str());
                Err(Rejection::new(RejectionReason::IdentityMismatch, message))
            }
        }
    }

    fn time(&self, stored: Timestamp, report: &Value, steps: &mut Steps) -> Result<Timestamp, Rejection> {
        let Some(path) = &self.timestamp else { return Ok(stored) };
        let none = |problem: String| Rejection::new(RejectionReason::NoTimestamp, problem);
        let text = path
            .find(report, steps)?
            .0
            .into_iter()
            .next()
            .ok_or_else(|| none(format!("it has no time at {}", path.as_str())))?;
        let text = text.as_str().ok_or_else(|| {
            none(format!("its time at {} is not a string like 2026-01-02T03:04:05+0900", path.as_str()))
        })?;
        let time =
            time::parse(text).map_err(|error| none(format!("its time at {} is invalid: {error}", path.as_str())))?;
        if time > stored.saturating_add(CLOCK_SKEW_MINUTES.minutes()).unwrap_or(Timestamp::MAX) {
            let message =
                format!("its time {text} is more than {CLOCK_SKEW_MINUTES} minutes after S3 stored it, at {stored}");
            return Err(Rejection::new(RejectionReason::FutureTimestamp, message));
        }
        Ok(time)
    }
}

impl Column {
    /// The value to count of something that the path found.
    fn value(&self, found: &Value, steps: &mut Steps) -> Result<Option<String>, TooComplex> {
        let Some(text) = text(found) else { return Ok(None) };
        let Some(regex) = &self.regex else { return Ok(Some(text)) };
        steps.take(PATTERN * (1 + text.len() as u64))?;
        let group = regex.captures(&text).and_then(|captures| captures.get(1)).map(|group| group.as_str().to_owned());
        Ok(group.filter(|group| !group.is_empty()))
    }
}

/// Parses exactly one JSON object.
fn parse(body: &[u8]) -> Result<Value, Rejection> {
    let refused = |message: String| Rejection::new(RejectionReason::NotJson, message);
    if body.starts_with("\u{feff}".as_bytes()) {
        return Err(refused("it starts with a byte order mark; write UTF-8 without one".into()));
    }
    match serde_json::from_slice(body) {
        Ok(report @ Value::Object(_)) => Ok(report),
        Ok(_) => Err(refused("it is JSON, but not an object".into())),
        Err(_) if body.trim_ascii().is_empty() => Err(refused("it is empty".into())),
        Err(error) => Err(refused(format!("it is not one JSON object: {error}"))),
    }
}

/// A value as text, of which nothing beyond the limit is written; `None` for null and an empty string.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text[..text.floor_char_boundary(VALUE_LIMIT)].to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let mut written = [0; VALUE_LIMIT];
            let mut rest = &mut written[..];
            // Fails at the limit, which ends it.
            let _ = serde_json::to_writer(&mut rest, value);
            let length = VALUE_LIMIT - rest.len();
            let text = String::from_utf8_lossy(&written[..length]);
            text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
        }
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::kinds::fleet_report::{desired::Desired, path::Path};

    const ID: &str = "i-0123456789abcdef0";

    fn reading() -> std::sync::Arc<Reading> {
        let spec = json!({
            "limits": {"objectSize": "1Ki"},
            "timestamp": {"path": "$.update_date"},
            "identity": {"path": "$.instance_id"},
            "fields": [
                {"name": "app", "path": "$.app_version"},
                {"name": "moduleA", "path": "$.processes[*].module_A_filename"},
            ],
            "groupBy": [{"name": "service", "path": "$.instance_name", "regex": "^([a-z]+_[a-z0-9]+)_"}],
        });
        Desired::sample(spec).unwrap().reading
    }

    fn read(body: &str) -> Result<Report, Rejection> {
        reading().read(ID, "2026-01-01T18:05:00Z".parse().unwrap(), body.as_bytes())
    }

    #[test]
    fn a_report_of_a_shell_script_is_read() {
        let body = format!(
            r#"{{ "processes" : [ {{"module_A_filename":"a-1.jar","pid":7}},
                                  {{"module_A_filename":"a-2.jar"}}, {{"module_A_filename":"a-1.jar"}}, {{}} ],
                 "instance_name":"web_blue_17", "extra":{{"a":[1,2,3]}}, "app_version":1.5,
                 "instance_id":"{ID}", "update_date":"2026-01-02T03:04:05+0900" }}
            "#
        );
        let report = read(&body).unwrap();
        assert_eq!(report.time, "2026-01-01T18:04:05Z".parse().unwrap());
        let values: Vec<_> = report.values.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(values, [(0, "1.5"), (1, "a-1.jar"), (1, "a-2.jar"), (2, "web_blue")]);
    }

    const TIME: &str = r#""update_date":"2026-01-01T18:04:05Z""#;
    const IDENTITY: &str = r#""instance_id":"i-0123456789abcdef0""#;

    #[rstest]
    #[case::empty("", RejectionReason::NotJson)]
    #[case::white_space(" \n", RejectionReason::NotJson)]
    #[case::cut("{\"a\": [1, 2", RejectionReason::NotJson)]
    #[case::trailing_garbage(&format!("{{{TIME},{IDENTITY}}} done"), RejectionReason::NotJson)]
    #[case::two_values(&format!("{{{TIME},{IDENTITY}}}{{}}"), RejectionReason::NotJson)]
    #[case::trailing_nul(&format!("{{{TIME},{IDENTITY}}}\0"), RejectionReason::NotJson)]
    #[case::byte_order_mark(&format!("\u{feff}{{{TIME},{IDENTITY}}}"), RejectionReason::NotJson)]
    #[case::list("[1, 2]", RejectionReason::NotJson)]
    #[case::html("<html></html>", RejectionReason::NotJson)]
    #[case::deep(&"[".repeat(1000), RejectionReason::NotJson)]
    #[case::too_large(&format!("{{\"a\": \"{}\"}}", "x".repeat(1024)), RejectionReason::TooLarge)]
    #[case::another_id(&format!(r#"{{{TIME},"instance_id":"i-0123456789abcdef1"}}"#), RejectionReason::IdentityMismatch)]
    #[case::id_is_a_number(&format!(r#"{{{TIME},"instance_id":7}}"#), RejectionReason::IdentityMismatch)]
    #[case::no_id(&format!("{{{TIME}}}"), RejectionReason::NoIdentity)]
    #[case::no_time(&format!("{{{IDENTITY}}}"), RejectionReason::NoTimestamp)]
    #[case::bad_time(&format!(r#"{{{IDENTITY},"update_date":"today"}}"#), RejectionReason::NoTimestamp)]
    #[case::epoch(&format!(r#"{{{IDENTITY},"update_date":1767312000}}"#), RejectionReason::NoTimestamp)]
    #[case::no_offset(&format!(r#"{{{IDENTITY},"update_date":"2026-01-01T18:04:05"}}"#), RejectionReason::NoTimestamp)]
    #[case::future(
        &format!(r#"{{{IDENTITY},"update_date":"2026-01-01T18:10:01Z"}}"#),
        RejectionReason::FutureTimestamp
    )]
    fn an_invalid_report_is_rejected_with_its_reason(#[case] body: &str, #[case] reason: RejectionReason) {
        let rejection = read(body).unwrap_err();
        assert_eq!(rejection.reason, reason, "{rejection}");
        assert!(rejection.message.starts_with("it"), "{rejection}");
    }

    #[test]
    fn a_report_time_may_be_five_minutes_ahead() {
        assert!(read(&format!(r#"{{{IDENTITY},"update_date":"2026-01-01T18:10:00Z"}}"#)).is_ok());
    }

    #[test]
    fn null_and_empty_strings_are_not_values() {
        let report = read(&format!(r#"{{{TIME},{IDENTITY},"app_version":null,"instance_name":""}}"#)).unwrap();
        assert_eq!(report.values, []);
    }

    #[test]
    fn every_identity_in_a_report_must_match_its_key() {
        let mut reading = (*reading()).clone();
        reading.identity = Some(Path::parse("$.ids[*]").unwrap());
        let stored = "2026-01-01T18:05:00Z".parse().unwrap();
        let read = |ids: &str| reading.read(ID, stored, format!(r#"{{{TIME},"ids":{ids}}}"#).as_bytes());
        assert!(read(&format!(r#"["{ID}", "{ID}"]"#)).is_ok());
        assert!(read(&format!(r#"["{ID}", "i-0123456789abcdef1"]"#)).is_err());
    }

    #[rstest]
    #[case("i-0123456789abcdef0.json", Some("i-0123456789abcdef0"))]
    #[case("prod/i-0123456789abcdef0.json", Some("i-0123456789abcdef0"))]
    #[case("prod/2026/i-0123456789abcdef0", Some("i-0123456789abcdef0"))]
    #[case("on-premises/web-1.json", Some("web-1"))]
    fn the_key_names_the_instance(#[case] key: &str, #[case] expected: Option<&str>) {
        assert_eq!(instance(key, Trust::AnyKey).ok(), expected);
    }

    #[rstest]
    #[case("arn:aws:ec2:eu-west-1:111111111111:instance/i-0123456789abcdef0.json", true)]
    #[case("prod/arn:aws-cn:ec2:cn-north-1:111111111111:instance/i-0123456789abcdef0.json", true)]
    #[case("arn:aws:ec2:eu-west-1:111111111111:instance/i-0123456789abcdef0", false)]
    #[case("arn:aws:ec2:eu-west-1:111111111111:instance/web-1.json", false)]
    #[case("arn:aws:ec2:eu-west-1:1111:instance/i-0123456789abcdef0.json", false)]
    #[case("x-arn:aws:ec2:eu-west-1:111111111111:instance/i-0123456789abcdef0.json", false)]
    #[case("arn:aws:ec2:eu-west-1:111111111111:volume/i-0123456789abcdef0.json", false)]
    #[case("arn:aws:ec2:eu-west-1:111111111111:instance/x/i-0123456789abcdef0.json", false)]
    #[case("prod/i-0123456789abcdef0.json", false)]
    fn only_a_key_with_an_instance_arn_proves_the_writer(#[case] key: &str, #[case] trusted: bool) {
        match instance(key, Trust::PerInstanceKey) {
            Ok(id) => assert!(trusted && id == ID, "{key}"),
            Err(rejection) => assert!(!trusted && rejection.reason == RejectionReason::UntrustedKey, "{key}"),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!("2026-01-01T18:04:05Z")),
            Just(json!(ID)),
        ];
        let names =
            vec!["update_date", "instance_id", "app_version", "processes", "module_A_filename", "instance_name"];
        let name = prop::sample::select(names).prop_map(str::to_owned);
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = reading().read(ID, Timestamp::UNIX_EPOCH, &body);
        }

        #[test]
        fn no_json_causes_a_panic(report in any_json(), cut in 0usize..400) {
            let body = report.to_string();
            let _ = reading().read(ID, Timestamp::MAX, body.as_bytes());
            let _ = reading().read(ID, Timestamp::MIN, &body.as_bytes()[..cut.min(body.len())]);
        }
    }
}
