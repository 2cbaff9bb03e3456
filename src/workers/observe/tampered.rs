//! Tags of an instance that do not match its launch.

use std::fmt;

use crate::tags::quoted;

/// The tags of an instance do not match its launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampered {
    pub changes: Vec<Change>,
    /// Whether its role and its revision are known all the same.
    pub is_identified: bool,
}

/// A tag that does not have the value of the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub tag: &'static str,
    pub found: Option<String>,
    /// What it was; `None` if that is not known.
    pub launched: Option<String>,
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Change { tag, found, launched }) in self.changes.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            match found {
                Some(found) => write!(f, "{tag} is {}", quoted(found))?,
                None => write!(f, "{tag} is missing")?,
            }
            match launched.as_deref() {
                Some("") => f.write_str(" (launched without it)")?,
                Some(launched) => write!(f, " (launched with {})", quoted(launched))?,
                None => f.write_str(" (not as launched)")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Tampered {
    /// Its role was changed.
    pub fn sample(is_identified: bool) -> Self {
        let launched = is_identified.then(|| "main".to_owned());
        Self {
            changes: vec![Change { tag: crate::tags::ROLE_TAG, found: Some("nope".into()), launched }],
            is_identified,
        }
    }
}
