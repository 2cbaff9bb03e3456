use rstest::rstest;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("agent.toml"), text, Overrides::default())
}

#[test]
fn a_configuration_with_only_a_bucket_is_valid() {
    let config = parse("bucket = 'b'").unwrap();
    assert_eq!((config.bucket.as_str(), config.prefix.as_str(), config.key), ("b", "", KeyStyle::InstanceId));
    assert_eq!((config.interval, config.check_interval), (SignedDuration::from_hours(1), Duration::from_secs(60)));
}

#[test]
fn every_setting_is_read() {
    let config = parse(
        r#"
        bucket = "b"
        prefix = "/prod/"
        key = "instance-arn"
        region = "eu-west-1"
        name = "web_1"
        interval = "30m"
        check_interval = "10s"
        [app_version]
        command = ["app", "--version"]
        regex = 'v(\S+)'
        timeout = "2s"
        [[processes]]
        files = "/opt/*.conf"
        keys = ["module_A_filename"]
        [[processes]]
        json = "/run/p.json"
        pointer = "/processes"
        [machine]
        proc = "/host/proc"
        "#,
    )
    .unwrap();
    assert_eq!((config.prefix.as_str(), config.key), ("prod", KeyStyle::InstanceArn));
    assert!(matches!(&config.app_version, Some(Source::Command(command)) if command.program == "app"));
    assert!(matches!(&config.processes[..], [Source::Files(_), Source::Json(_)]));
    assert_eq!(config.proc, Path::new("/host/proc"));
}

#[test]
fn flags_override_the_file() {
    let overrides =
        Overrides { bucket: Some("other".into()), key: Some(KeyStyle::InstanceArn), ..Overrides::default() };
    let config = Config::parse(Path::new("agent.toml"), "bucket = 'b'\nprefix = 'p'", overrides).unwrap();
    assert_eq!((config.bucket.as_str(), config.prefix.as_str(), config.key), ("other", "p", KeyStyle::InstanceArn));
}

#[test]
fn empty_settings_are_treated_as_absent() {
    let empty = || Some(String::new());
    let overrides = Overrides { bucket: empty(), prefix: empty(), region: empty(), name: empty(), key: None };
    let config = Config::parse(Path::new("agent.toml"), "bucket = 'b'\nregion = ''\nprefix = 'p'", overrides).unwrap();
    assert_eq!((config.bucket.as_str(), config.region, config.name), ("b", None, None));
    // Only an empty prefix has a meaning.
    assert_eq!(config.prefix, "");
}

#[rstest]
#[case::odd_bucket("bucket = 'My bucket'", "`bucket` is \"My bucket\": a bucket's name has")]
#[case::no_bucket("", "agent.toml: `bucket` is missing")]
#[case::slash("bucket = 'b/p'", "agent.toml: `bucket` has a slash")]
#[case::unknown_key("bucket = 'b'\nbukket = 1", "unknown field `bukket`, expected one of")]
#[case::unknown_style("bucket = 'b'\nkey = 'arn'", "unknown variant `arn`, expected `instance-id` or `instance-arn`")]
#[case::bad_interval("bucket = 'b'\ninterval = 'hourly'", "`interval` is \"hourly\": write a duration")]
#[case::short_interval("bucket = 'b'\ninterval = '5s'", "`interval` is \"5s\": it must be from 60s to 7 days")]
#[case::no_source("bucket = 'b'\n[app_version]", "`app_version` must have exactly one of")]
#[case::two_sources(
    "bucket = 'b'\n[app_version]\ncommand = ['x']\njson = '/x'",
    "`app_version` must have exactly one of"
)]
#[case::empty_command("bucket = 'b'\n[app_version]\ncommand = []", "`app_version.command` is empty")]
#[case::bad_regex(
    "bucket = 'b'\n[app_version]\ncommand = ['x']\nregex = '('",
    "`app_version.regex` is no regular expression"
)]
#[case::unnamed_groups(
    "bucket = 'b'\n[[processes]]\ncommand = ['x']\nregex = '(a)'",
    "`processes[0].regex` needs named groups"
)]
#[case::regex_without_command(
    "bucket = 'b'\n[app_version]\njson = '/x'\nregex = 'x'",
    "`app_version.regex` goes with `command` only"
)]
#[case::relative_files(
    "bucket = 'b'\n[[processes]]\nfiles = '*.conf'",
    "`processes[0].files` must be an absolute path"
)]
#[case::version_of_which_key("bucket = 'b'\n[app_version]\nfiles = '/x'", "`app_version.keys` must name the one key")]
#[case::pointer("bucket = 'b'\n[app_version]\njson = '/x'\npointer = 'a.b'", "`app_version.pointer` must start with")]
fn configuration_errors_name_the_fix(#[case] text: &str, #[case] expected: &str) {
    let error = parse(text).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.starts_with("agent.toml: "), "{error}");
}

#[test]
fn a_configuration_file_given_by_name_must_exist() {
    let error = Config::load(Some(Path::new("/nonexistent/agent.toml")), Overrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/agent.toml: cannot read"), "{error}");
}
