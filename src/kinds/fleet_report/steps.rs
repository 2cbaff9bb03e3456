//! Limits the work that one report causes: its writer decides how large it is, and the thread cannot be stopped.

/// The maximum number of steps for all paths and patterns of one report. A step takes less than a microsecond.
const STEPS: u64 = 4_000_000;

/// The maximum number of values in one report, counted before they are held in memory.
pub(super) const VALUES: usize = 250_000;

/// The steps that remain for a report.
#[derive(Debug)]
pub(super) struct Steps(u64);

/// The report takes more work than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooComplex {
    #[error("it has more than {VALUES} values; report less")]
    Values,
    #[error(
        "the paths and patterns of the FleetReport take more than {STEPS} steps in it; report less, or name the members \
         in the paths instead of using '..', '*' and filters"
    )]
    Steps,
}

impl Default for Steps {
    fn default() -> Self {
        Self(STEPS)
    }
}

impl Steps {
    pub(super) fn take(&mut self, steps: u64) -> Result<(), TooComplex> {
        self.0 = self.0.checked_sub(steps).ok_or(TooComplex::Steps)?;
        Ok(())
    }
}

/// The number of values in a JSON text, at most. Invalid JSON has any number.
pub(super) fn values(json: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_before_they_are_parsed() {
        for (json, expected) in [("1", 1), ("[1,2]", 3), (r#"{"a,b[": "\\\",", "c": [[]]}"#, 5), ("[[[", 4)] {
            assert!(values(json.as_bytes()) >= expected && values(json.as_bytes()) <= expected + 1, "{json}");
        }
    }
}
