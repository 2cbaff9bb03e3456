//! The configuration file and the flags that override it, validated once into types that exclude invalid values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use regex_lite::Regex;
use serde::Deserialize;

/// The file that is read if no other file is given.
pub const DEFAULT_CONFIG: &str = "/etc/muster-agent/agent.toml";

/// The style of the key of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStyle {
    /// `<prefix>/i-0123456789abcdef0.json`
    #[default]
    InstanceId,
    /// `<prefix>/arn:aws:ec2:<region>:<account>:instance/i-0123456789abcdef0.json`, which a bucket policy can restrict to
    /// this instance with `${ec2:SourceInstanceARN}`.
    InstanceArn,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub bucket: String,
    /// Without slashes around it; may be empty.
    pub prefix: String,
    pub key: KeyStyle,
    /// The region of the bucket. None: the region of the instance.
    pub region: Option<String>,
    pub name: Option<String>,
    pub interval: SignedDuration,
    pub check_interval: Duration,
    pub app_version: Option<Source>,
    pub processes: Vec<Source>,
    /// The folder of the kernel's files.
    pub proc: PathBuf,
}

/// A source of facts.
#[derive(Debug, Clone)]
pub enum Source {
    Command(CommandSource),
    Files(FilesSource),
    Json(JsonSource),
}

impl Source {
    /// The name of the source in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Command(command) => format!("`{}`", command.program),
            Self::Files(files) => files.pattern.clone(),
            Self::Json(json) => json.path.display().to_string(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct CommandSource {
    pub program: String,
    pub arguments: Vec<String>,
    pub regex: Option<Regex>,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct FilesSource {
    pub pattern: String,
    /// Empty: all keys.
    pub keys: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct JsonSource {
    pub path: PathBuf,
    /// RFC 6901; empty for the whole document.
    pub pointer: String,
}

/// The settings from flags and environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub key: Option<KeyStyle>,
    pub region: Option<String>,
    pub name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot read the configuration file", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {error}", path.display())]
    Parse { path: PathBuf, error: String },
    #[error("{}: `{key}` {problem}", path.display())]
    Invalid { path: PathBuf, key: String, problem: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bucket: Option<String>,
    prefix: Option<String>,
    key: Option<KeyStyle>,
    region: Option<String>,
    name: Option<String>,
    interval: Option<String>,
    check_interval: Option<String>,
    app_version: Option<RawSource>,
    #[serde(default)]
    processes: Vec<RawSource>,
    #[serde(default)]
    machine: RawMachine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    proc: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    command: Option<Vec<String>>,
    regex: Option<String>,
    timeout: Option<String>,
    files: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    json: Option<PathBuf>,
    pointer: Option<String>,
}

impl Config {
    /// Reads the file and applies the overrides. A missing file is an error only if it was given by name.
    pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let asked = path.is_some();
        let path = path.unwrap_or(Path::new(DEFAULT_CONFIG));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        Self::parse(path, &text, overrides)
    }

    pub fn parse(path: &Path, text: &str, overrides: Overrides) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: error.to_string() })?;
        let check = Check { path };
        let Overrides { bucket, prefix, key, region, name } = overrides;
        let File {
            bucket: file_bucket,
            prefix: file_prefix,
            key: file_key,
            region: file_region,
            name: file_name,
            interval,
            check_interval,
            app_version,
            processes,
            machine: RawMachine { proc },
        } = file;
        // An empty variable counts as not set.
        let said = |flag: Option<String>, file: Option<String>| {
            flag.filter(|text| !text.is_empty()).or(file).filter(|text| !text.is_empty())
        };
        let bucket = said(bucket, file_bucket).ok_or_else(|| {
            check.invalid(
                "bucket",
                "is missing: name the bucket to report to here, by --bucket or by MUSTER_AGENT_BUCKET",
            )
        })?;
        if bucket.contains('/') {
            return Err(check.invalid("bucket", "has a slash: write the bucket's name alone, and the rest as `prefix`"));
        }
        if !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
            let problem = format!("is {bucket:?}: a bucket's name has letters, digits, dots and hyphens only");
            return Err(check.invalid("bucket", problem));
        }
        let interval = check.duration("interval", interval.as_deref(), "1h", 60)?;
        let check_interval = check.duration("check_interval", check_interval.as_deref(), "1m", 1)?;
        let processes: Result<Vec<Source>, ConfigError> = processes
            .into_iter()
            .enumerate()
            .map(|(index, raw)| check.source(&format!("processes[{index}]"), raw, Use::Entries))
            .collect();
        Ok(Self {
            bucket,
            prefix: prefix.or(file_prefix).unwrap_or_default().trim_matches('/').to_owned(),
            key: key.or(file_key).unwrap_or_default(),
            region: said(region, file_region),
            name: said(name, file_name),
            interval: SignedDuration::try_from(interval).unwrap_or(SignedDuration::from_hours(1)),
            check_interval,
            app_version: app_version.map(|raw| check.source("app_version", raw, Use::Value)).transpose()?,
            processes: processes?,
            proc: proc.unwrap_or_else(|| PathBuf::from("/proc")),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// One text.
    Value,
    /// A list of objects.
    Entries,
}

struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn invalid(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { path: self.path.to_owned(), key: key.to_owned(), problem: problem.into() }
    }

    fn duration(&self, key: &str, text: Option<&str>, default: &str, least: u64) -> Result<Duration, ConfigError> {
        let text = text.unwrap_or(default);
        let duration =
            text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(
                || self.invalid(key, format!("is {text:?}: write a duration like \"90s\", \"5m\" or \"1h\"")),
            )?;
        if duration < Duration::from_secs(least) || duration > Duration::from_secs(7 * 24 * 3600) {
            return Err(self.invalid(key, format!("is {text:?}: it must be from {least}s to 7 days")));
        }
        Ok(duration)
    }

    fn source(&self, key: &str, raw: RawSource, wanted: Use) -> Result<Source, ConfigError> {
        let RawSource { command, regex, timeout, files, keys, json, pointer } = raw;
        let only = |set: bool, name: &str, with: &str| {
            if set {
                Err(self.invalid(&format!("{key}.{name}"), format!("goes with `{with}` only: remove it")))
            } else {
                Ok(())
            }
        };
        if json.is_none() {
            only(pointer.is_some(), "pointer", "json")?;
        }
        if files.is_none() {
            only(!keys.is_empty(), "keys", "files")?;
        }
        if command.is_none() {
            only(regex.is_some(), "regex", "command")?;
            only(timeout.is_some(), "timeout", "command")?;
        }
        match (command, files, json) {
            (Some(command), None, None) => self.command(key, command, regex, timeout.as_deref(), wanted),
            (None, Some(pattern), None) => self.files(key, pattern, keys, wanted),
            (None, None, Some(path)) => self.json(key, path, pointer.unwrap_or_default()),
            _ => Err(self.invalid(key, "must have exactly one of `command`, `files` and `json`")),
        }
    }

    fn command(
        &self,
        key: &str,
        command: Vec<String>,
        regex: Option<String>,
        timeout: Option<&str>,
        wanted: Use,
    ) -> Result<Source, ConfigError> {
        let mut words = command.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            self.invalid(&format!("{key}.command"), "is empty: write the program and its arguments as a list of texts")
        })?;
        let regex = regex
            .map(|regex| Regex::new(&regex))
            .transpose()
            .map_err(|error| self.invalid(&format!("{key}.regex"), format!("is no regular expression: {error}")))?;
        let named = regex.as_ref().is_some_and(|regex| regex.capture_names().flatten().next().is_some());
        if wanted == Use::Entries && !named {
            let problem =
                "needs named groups, which become the entry's fields: for example '(?P<module_A_filename>\\S+)'";
            return Err(self.invalid(&format!("{key}.regex"), problem));
        }
        let timeout = self.duration(&format!("{key}.timeout"), timeout, "5s", 1)?;
        Ok(Source::Command(CommandSource { program, arguments: words.collect(), regex, timeout }))
    }

    fn files(&self, key: &str, pattern: String, keys: Vec<String>, wanted: Use) -> Result<Source, ConfigError> {
        glob::Pattern::new(&pattern)
            .map_err(|error| self.invalid(&format!("{key}.files"), format!("is no pattern of file names: {error}")))?;
        if !pattern.starts_with('/') {
            return Err(self.invalid(&format!("{key}.files"), "must be an absolute path, like /opt/app/conf/*.conf"));
        }
        if wanted == Use::Value && keys.len() != 1 {
            return Err(self.invalid(&format!("{key}.keys"), "must name the one key whose value is the version"));
        }
        Ok(Source::Files(FilesSource { pattern, keys }))
    }

    fn json(&self, key: &str, path: PathBuf, pointer: String) -> Result<Source, ConfigError> {
        if !path.is_absolute() {
            return Err(self.invalid(&format!("{key}.json"), "must be an absolute path"));
        }
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(
                self.invalid(&format!("{key}.pointer"), "must start with a slash, like /build/version (RFC 6901)")
            );
        }
        Ok(Source::Json(JsonSource { path, pointer }))
    }
}

#[cfg(test)]
mod tests;
