//! User data as cloud-init reads it: one script, or a MIME archive of parts. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A part that an instance carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Run at every boot, before the scripts.
    Boothook,
    /// Run at the first boot, in the order of the parts.
    Script,
    /// What cloud-init knows and workers of the sandbox do not carry out, such as `#cloud-config`.
    Other,
}

/// The parts of user data, in order. Text that is no script and no archive has none.
pub(super) fn parts(user_data: &[u8]) -> Vec<Part> {
    let mut found = Vec::new();
    if is_message(user_data) {
        read_message(user_data, &mut found);
    } else {
        found.extend(by_beginning(user_data));
    }
    found
}

fn is_message(text: &[u8]) -> bool {
    let starts = |prefix: &str| text.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix.as_bytes()));
    starts("content-type:") || starts("mime-version:")
}

/// By the first line, as cloud-init does where no type says it.
fn by_beginning(body: &[u8]) -> Option<Part> {
    let kind = if body.starts_with(b"#!") {
        Kind::Script
    } else if body.starts_with(b"#cloud-boothook") {
        Kind::Boothook
    } else if body.starts_with(b"#cloud-config") || body.starts_with(b"#include") || body.starts_with(b"## template") {
        Kind::Other
    } else {
        return None;
    };
    Some(Part { kind, body: without_marker(kind, body) })
}

/// A boothook's own first line is not part of the program.
fn without_marker(kind: Kind, body: &[u8]) -> Vec<u8> {
    let marked = kind == Kind::Boothook && body.starts_with(b"#cloud-boothook");
    let end = body.iter().position(|byte| *byte == b'\n').filter(|_| marked).map_or(0, |at| at + 1);
    body[end..].to_vec()
}

/// Headers, an empty line, a body.
fn read_message(message: &[u8], into: &mut Vec<Part>) {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    let (headers, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers = headers.trim_start_matches('\n').replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        headers.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let content_type = header("content-type").unwrap_or_else(|| "text/plain".to_owned());
    if let Some(boundary) = parameter(&content_type, "boundary") {
        for part in split(body, &boundary) {
            read_message(part.as_bytes(), into);
        }
        return;
    }
    let base64 = header("content-transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
    let body = if base64 {
        let packed: String = body.split_whitespace().collect();
        BASE64_STANDARD.decode(packed).unwrap_or_default()
    } else {
        body.as_bytes().to_vec()
    };
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = match media_type.as_str() {
        "text/x-shellscript" | "text/x-shellscript-per-boot" | "text/x-shellscript-per-instance" => Kind::Script,
        "text/cloud-boothook" => Kind::Boothook,
        "text/plain" | "text/x-not-multipart" | "application/octet-stream" => {
            into.extend(by_beginning(&body));
            return;
        }
        _other => Kind::Other,
    };
    into.push(Part { kind, body: without_marker(kind, &body) });
}

/// The value of `boundary="x"` in a content type.
fn parameter(content_type: &str, name: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (known, value) = parameter.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// What stands between the boundary's lines, without the line ends that belong to them.
fn split(body: &str, boundary: &str) -> Vec<String> {
    let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts: Vec<String> = Vec::new();
    let mut within = false;
    for line in body.split('\n') {
        let mark = line.trim_end();
        if mark == close {
            break;
        }
        if mark == open {
            within = true;
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut().filter(|_| within) {
            part.push_str(line);
            part.push('\n');
        }
    }
    // The line end before a boundary is the boundary's.
    parts.into_iter().map(|part| part.strip_suffix('\n').map_or(part.clone(), str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Kind, String)> {
        let body = |part: Part| String::from_utf8(part.body).expect("text");
        parts(text.as_bytes()).into_iter().map(|part| (part.kind, body(part))).collect()
    }

    #[test]
    fn a_single_part_is_known_by_its_beginning() {
        assert_eq!(read("#!/bin/sh\necho\n"), [(Kind::Script, "#!/bin/sh\necho\n".to_owned())]);
        assert_eq!(read("#cloud-boothook\n#!/bin/sh\n"), [(Kind::Boothook, "#!/bin/sh\n".to_owned())]);
        assert_eq!(read("#cloud-config\nruncmd: []\n"), [(Kind::Other, "#cloud-config\nruncmd: []\n".to_owned())]);
        assert_eq!(read("touch it"), []);
        assert_eq!(read(""), []);
    }

    #[test]
    fn an_archive_has_its_parts_in_order() {
        let archive = "Content-Type: multipart/mixed;\n boundary=\"==B==\"\nMIME-Version: 1.0\n\npreamble\n\
            --==B==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n#!/bin/sh\necho one\n\n\
            --==B==\nContent-Type: text/cloud-config\n\n#cloud-config\n\
            --==B==\nContent-Type: text/cloud-boothook\n\n#cloud-boothook\n#!/bin/sh\necho early\n\
            --==B==\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3NoCmVjaG8g\ndHdvCg==\n\
            --==B==--\nepilogue\n";
        let wanted = [
            (Kind::Script, "#!/bin/sh\necho one\n".to_owned()),
            (Kind::Other, "#cloud-config".to_owned()),
            (Kind::Boothook, "#!/bin/sh\necho early".to_owned()),
            (Kind::Script, "#!/bin/sh\necho two\n".to_owned()),
        ];
        assert_eq!(read(archive), wanted);
        assert_eq!(read(&archive.replace('\n', "\r\n")), wanted);
    }

    #[test]
    fn archives_nest() {
        let archive = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=A\n\n--A\n\
            Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--B--\n--A--";
        assert_eq!(read(archive), [(Kind::Script, "#!/bin/sh".to_owned())]);
    }
}
