//! The content of a report: the fields that shell reporters write, and no others.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock;
use crate::instance::Instance;

/// FleetReports reject larger objects by default.
pub const LARGEST: usize = 1024 * 1024;
/// The part of it for processes; the rest is for the other fields.
pub const ROOM_FOR_PROCESSES: usize = LARGEST - 64 * 1024;

/// One element of `processes`.
pub type Entry = Map<String, Value>;

/// The content of a report, except for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub instance: Instance,
    pub name: Option<String>,
    pub app_version: Option<String>,
    /// `None`: none of its sources could be read.
    pub processes: Option<Vec<Entry>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the report has {0} bytes, and FleetReports reject more than {LARGEST}: report fewer processes or keys")]
pub struct TooLarge(usize);

#[derive(Debug, Serialize)]
struct Report<'a> {
    update_date: String,
    os_start_date: String,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_name: Option<&'a str>,
    instance_type: &'a str,
    instance_life_cycle: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<&'a [Entry]>,
}

impl Facts {
    /// The body of the object. Times are local times of the instance, with their offset if the format has one.
    pub fn body(&self, now: Timestamp) -> Result<Vec<u8>, TooLarge> {
        let report = Report {
            update_date: clock::local(now).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            os_start_date: clock::local(self.instance.booted).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            instance_id: &self.instance.instance_id,
            instance_name: self.name.as_deref(),
            instance_type: &self.instance.instance_type,
            instance_life_cycle: self.instance.life_cycle.as_str(),
            app_version: self.app_version.as_deref(),
            processes: self.processes.as_deref(),
        };
        let body = serde_json::to_vec(&report).unwrap_or_default();
        if body.len() > LARGEST { Err(TooLarge(body.len())) } else { Ok(body) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::instance::tests::instance;

    pub(crate) fn facts() -> Facts {
        let mut process = Map::new();
        process.insert("module_A_filename".into(), "a-1.2.bin".into());
        process.insert("module_B_filename".into(), "b-3.4.bin".into());
        Facts {
            instance: instance(),
            name: Some("web_red_1".into()),
            app_version: Some("red-1.8.5".into()),
            processes: Some(vec![process]),
        }
    }

    fn report(facts: &Facts) -> Value {
        serde_json::from_slice(&facts.body("2026-01-02T03:04:05Z".parse().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_report_has_the_fields_of_the_shell_reporters() {
        let mut report = report(&facts());
        // These two are in the time zone of the host that runs the test.
        let update_date: String = report["update_date"].as_str().unwrap().to_owned();
        assert_eq!(update_date.parse::<Timestamp>().unwrap(), "2026-01-02T03:04:05Z".parse().unwrap());
        assert!(update_date.len() == 25, "{update_date}");
        let booted = report["os_start_date"].as_str().unwrap().to_owned();
        assert!(booted.parse::<jiff::civil::DateTime>().is_ok() && booted.len() == 19, "{booted}");
        report["update_date"] = "<time>".into();
        report["os_start_date"] = "<time>".into();
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
        {
          "update_date": "<time>",
          "os_start_date": "<time>",
          "instance_id": "i-0123456789abcdef0",
          "instance_name": "web_red_1",
          "instance_type": "m6i.large",
          "instance_life_cycle": "ondemand",
          "app_version": "red-1.8.5",
          "processes": [
            {
              "module_A_filename": "a-1.2.bin",
              "module_B_filename": "b-3.4.bin"
            }
          ]
        }
        "#);
    }

    #[test]
    fn unknown_facts_are_omitted() {
        let report = report(&Facts { name: None, app_version: None, processes: None, ..facts() });
        let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["update_date", "os_start_date", "instance_id", "instance_type", "instance_life_cycle"]);
    }

    #[test]
    fn a_report_without_processes_has_an_empty_list() {
        assert_eq!(report(&Facts { processes: Some(Vec::new()), ..facts() })["processes"], Value::Array(Vec::new()));
    }

    #[test]
    fn a_report_larger_than_the_limit_is_an_error() {
        let mut large = facts();
        large.app_version = Some("x".repeat(LARGEST));
        assert!(large.body(Timestamp::UNIX_EPOCH).is_err());
    }
}
