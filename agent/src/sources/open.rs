//! Opening a file that others may have put there.
//!
//! The agent may read more than the users whose files it reports. So none of them may make it read another file by a
//! symbolic link, or make it wait by a pipe.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::error::SourceError;

/// The name of a symbolic link, and its owner.
type Link = (OsString, u32);

/// The limit of Linux.
const MOST_LINKS: usize = 40;

/// Opens a regular file. A symbolic link on the way is followed if it belongs to root, to the agent's user, or to the owner
/// of the file, who can read the file without the agent.
pub(super) fn open(path: &Path) -> Result<File, SourceError> {
    let fail = |source: std::io::Error| SourceError::Read { path: path.to_owned(), source };
    let (file, links) = walk(path).map_err(fail)?;
    let Some(file) = file else { return Err(SourceError::NoFile { path: path.to_owned() }) };
    let file = File::from(file);
    let found = file.metadata().map_err(fail)?;
    if !found.is_file() {
        return Err(SourceError::NoFile { path: path.to_owned() });
    }
    let own = std::fs::metadata("/proc/self").map_err(fail)?.uid();
    let trusted = [0, own, found.uid()];
    match links.into_iter().find(|(_, owner)| !trusted.contains(owner)) {
        None => Ok(file),
        Some((link, owner)) => Err(SourceError::ForeignLink { path: path.to_owned(), link, owner }),
    }
}

/// The file, if it is a regular one, and the symbolic links on the way with their owners. Each part of the path is opened
/// in the folder before it, so nobody can exchange a part after it was checked.
fn walk(path: &Path) -> std::io::Result<(Option<OwnedFd>, Vec<Link>)> {
    let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = || nix::fcntl::open("/", look, Mode::empty());
    let (mut folder, mut links) = (root()?, Vec::new());
    let mut rest = parts(&std::path::absolute(path)?);
    while let Some(name) = rest.pop() {
        let found = openat(&folder, name.as_os_str(), look, Mode::empty())?;
        let status = fstat(&found)?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFLNK {
            let target = PathBuf::from(readlinkat(&found, "")?);
            links.push((name, status.st_uid));
            if links.len() > MOST_LINKS {
                return Err(Errno::ELOOP.into());
            }
            if target.is_absolute() {
                folder = root()?;
            }
            rest.extend(parts(&target));
        } else if !rest.is_empty() {
            folder = found;
        } else if kind == SFlag::S_IFREG {
            let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            return Ok((Some(openat(&folder, name.as_os_str(), read, Mode::empty())?), links));
        } else {
            break;
        }
    }
    Ok((None, links))
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{lchown, symlink};

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    fn text(path: &Path) -> Result<String, String> {
        let mut text = String::new();
        open(path).map_err(|error| error.to_string())?.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    /// `release/app.conf`, a secret beside it, and a user who owns neither.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("release")).unwrap();
        std::fs::write(folder.path().join("release/app.conf"), "a = 1").unwrap();
        std::fs::write(folder.path().join("secret"), "password = hunter2").unwrap();
        folder
    }

    #[rstest]
    #[case::file("link", "release/app.conf")]
    #[case::folder("link/app.conf", "release")]
    #[case::up("link/../release/app.conf", "release")]
    #[case::around("link/app.conf", "release/../release/.")]
    fn own_links_are_followed(#[case] path: &str, #[case] target: &str) {
        let folder = folder();
        symlink(target, folder.path().join("link")).unwrap();
        assert_eq!(text(&folder.path().join(path)).unwrap(), "a = 1");
        std::fs::remove_file(folder.path().join("link")).unwrap();
        symlink(folder.path().join(target), folder.path().join("link")).unwrap();
        assert_eq!(text(&folder.path().join(path)).unwrap(), "a = 1", "absolute");
    }

    const OTHER: u32 = 12_345;

    /// Only root can give a link away. Without that right there is nothing that this user could be protected from.
    fn is_given_away(link: &Path) -> bool {
        lchown(link, Some(OTHER), Some(OTHER)).is_ok()
    }

    #[rstest]
    #[case::file("link", "secret")]
    #[case::folder("link/secret", ".")]
    fn a_link_of_another_user_is_followed_only_to_his_own_files(#[case] path: &str, #[case] target: &str) {
        let folder = folder();
        let link = folder.path().join("link");
        symlink(target, &link).unwrap();
        if !is_given_away(&link) {
            return;
        }
        let error = text(&folder.path().join(path)).unwrap_err();
        assert!(error.contains("/link") && error.contains("belongs to the user 12345"), "{error}");
        assert!(!error.contains("hunter2"));
        lchown(folder.path().join("secret"), Some(OTHER), None).unwrap();
        assert_eq!(text(&folder.path().join(path)).unwrap(), "password = hunter2");
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, expected) in [
            ("pipe", "is not a regular file"),
            ("to-pipe", "is not a regular file"),
            ("socket", "is not a regular file"),
            ("release", "is not a regular file"),
            ("circle", "cannot read"),
            ("missing", "cannot read"),
            ("secret/x", "cannot read"),
        ] {
            let error = text(&at(name)).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let missing = walk(&at("missing")).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound, "a file that was deleted is no error");
        assert!(text(Path::new("/")).unwrap_err().contains("is not a regular file"));
        assert!(text(Path::new("/dev/zero")).unwrap_err().contains("is not a regular file"));
    }
}
