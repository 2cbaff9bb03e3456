//! User data that fetches the parameters before the user's own part runs. It holds their place, never their values.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::workers::parameters::reference::{ParametersPlace, ParametersRef};

/// cloud-init runs it at the end of the first boot; it installs itself for each later boot.
const FETCH: &str = include_str!("fetch.py");

/// How cloud-init identifies the types of user data (cloudinit/handlers/__init__.py, `INCLUSION_TYPES_MAP`).
const KINDS: &[(&str, &str)] = &[
    ("#!", "text/x-shellscript"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config", "text/cloud-config"),
    ("#include-once", "text/x-include-once-url"),
    ("#include", "text/x-include-url"),
    ("#part-handler", "text/part-handler"),
    ("## template: jinja", "text/jinja2"),
];

/// User data that cannot be combined with the part that fetches the parameters.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Uncombinable {
    #[error(
        "template.userData is a MIME message, and spec.parameters cannot add a part to it: write one script that \
         begins with #!, or one #cloud-config"
    )]
    Mime,
    #[error(
        "template.userData begins with {0:?}, which cloud-init does not run, and spec.parameters needs cloud-init to fetch \
         the parameters: begin it with #! or #cloud-config"
    )]
    Unknown(String),
}

/// The user data of a worker with parameters, before base64.
///
/// cloud-init runs scripts in the order of their file names, and then the `runcmd` of a `#cloud-config`. What it runs
/// earlier in the boot, for example `bootcmd`, runs before the parameters are fetched.
///
/// # Errors
/// When cloud-init could not run the user's part.
pub fn compose(reference: &ParametersRef, user: Option<&str>) -> Result<String, Uncombinable> {
    let fetch = fetch(reference);
    let Some(user) = user.filter(|text| !text.trim().is_empty()) else { return Ok(fetch) };
    let parts = [("001-muster-parameters", "text/x-shellscript", fetch.as_str()), ("002-user-data", kind(user)?, user)];
    let boundary = boundary(&parts.map(|(_, _, text)| text));
    let parts = parts.map(|(name, kind, text)| part(&boundary, name, kind, text)).concat();
    Ok(format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n{parts}--{boundary}--\n"))
}

fn fetch(reference: &ParametersRef) -> String {
    let (store, place) = match &reference.place {
        ParametersPlace::S3 { bucket, key } => ("s3", format!("{bucket}/{key}")),
        ParametersPlace::ParameterStore { path } => ("ssm", path.clone()),
    };
    // The schema keeps quotes and backslashes out of all three.
    FETCH.replace("@STORE@", store).replace("@PLACE@", &place).replace("@REGION@", reference.region.as_str())
}

fn kind(user: &str) -> Result<&'static str, Uncombinable> {
    let text = user.trim_start().to_ascii_lowercase();
    if let Some((_, kind)) = KINDS.iter().find(|(start, _)| text.starts_with(start)) {
        return Ok(kind);
    }
    if text.starts_with("content-type:") || text.starts_with("mime-version:") {
        return Err(Uncombinable::Mime);
    }
    let line = user.trim_start().lines().next().unwrap_or_default();
    Err(Uncombinable::Unknown(line.chars().take(40).collect()))
}

/// Deterministic, and contained in none of the parts.
fn boundary(parts: &[&str]) -> String {
    let mut seed = Sha256::new();
    parts.iter().for_each(|part| seed.update(part));
    let mut digest = seed.finalize();
    loop {
        let boundary = format!("=={}==", &hex::encode(digest)[..24]);
        if parts.iter().all(|part| !part.contains(&boundary)) {
            return boundary;
        }
        digest = Sha256::digest(digest);
    }
}

fn part(boundary: &str, name: &str, kind: &str, text: &str) -> String {
    // cloud-init uses Python's parser, which reads other unencoded characters as Latin-1.
    let (encoding, body) = if text.is_ascii() { ("7bit", text.to_owned()) } else { ("base64", folded(text)) };
    let newline = if body.ends_with('\n') { "" } else { "\n" };
    format!(
        "--{boundary}\nContent-Type: {kind}; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: {encoding}\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\n{body}{newline}"
    )
}

/// Base64 in lines of 76 characters, the limit of MIME (RFC 2045, 6.8).
fn folded(text: &str) -> String {
    let text = BASE64_STANDARD.encode(text);
    let lines: Vec<_> = text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::{crd::parameters::OnChange, ids::Region};

    fn reference() -> ParametersRef {
        ParametersRef {
            place: ParametersPlace::S3 { bucket: "my-bucket".into(), key: "app/main/1.json".into() },
            region: Region::try_from("eu-west-1").unwrap(),
            hash: "1".into(),
            on_change: OnChange::Keep,
        }
    }

    /// File name, type and text of each part, as Python's parser reads them, which cloud-init uses.
    fn parsed(user_data: &str) -> Vec<(String, String, String)> {
        const READ: &str = "import sys, json, email\n\
            parts = [p for p in email.message_from_string(sys.stdin.buffer.read().decode()).walk() if not p.is_multipart()]\n\
            print(json.dumps([[p.get_filename(), p.get_content_type(), p.get_payload(decode=True).decode()] for p in parts]))";
        let python = Command::new("python3").args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut python = python.unwrap();
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), user_data.as_bytes()).unwrap();
        serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn the_parameters_are_fetched_before_the_users_part_runs() {
        for (user, kind) in [
            ("#!/bin/bash\necho hi\n", "text/x-shellscript"),
            ("#cloud-config\nruncmd: [[ls]]", "text/cloud-config"),
            ("\n#Cloud-Config\nruncmd: []\n", "text/cloud-config"),
            ("#cloud-boothook\n#!/bin/sh\n", "text/cloud-boothook"),
            ("#include-once\nhttps://example.com/a\n", "text/x-include-once-url"),
            ("#!/bin/sh\necho 'Zażółć gęślą jaźń 漢字'\n", "text/x-shellscript"),
        ] {
            let parts = parsed(&compose(&reference(), Some(user)).unwrap());
            assert_eq!(parts.len(), 2, "{user}");
            assert_eq!((parts[0].0.as_str(), parts[0].1.as_str()), ("001-muster-parameters", "text/x-shellscript"));
            assert!(parts[0].2.contains(r#""s3", "my-bucket/app/main/1.json", "eu-west-1""#), "{}", parts[0].2);
            assert_eq!((parts[1].1.as_str(), parts[1].2.trim_end()), (kind, user.trim_end()));
        }
    }

    #[test]
    fn without_user_data_the_result_is_the_fetch_script_alone() {
        for user in [None, Some(" \n")] {
            let alone = compose(&reference(), user).unwrap();
            assert!(alone.starts_with("#!/bin/sh\n") && !alone.contains('@'), "{alone}");
        }
    }

    #[test]
    fn the_fetch_leaves_most_of_16_kb_to_the_user() {
        assert!(fetch(&reference()).len() < 5_000, "{}", fetch(&reference()).len());
    }

    #[test]
    fn user_data_that_cloud_init_does_not_run_is_rejected_with_the_fix() {
        let refused = |user: &str| compose(&reference(), Some(user)).unwrap_err().to_string();
        assert!(refused("MIME-Version: 1.0\n").contains("is a MIME message"));
        assert!(refused("<powershell>\n1\n</powershell>").contains(r#"begins with "<powershell>""#));
        assert!(refused("echo hi").contains("begin it with #! or #cloud-config"));
    }

    #[test]
    fn a_boundary_occurs_in_none_of_the_parts() {
        let first = boundary(&["a"]);
        let nasty = format!("a{first}");
        assert!(!nasty.contains(&boundary(&[&nasty])));
        assert_eq!(boundary(&["a"]), first);
    }
}
