//! The architecture of this repository as its sources have it: which file imports which, whether muster's floors hold,
//! and which files of any package form circles.
//!
//! - [`package`] reads a package's sources and finds its arrows: file, file, and the names that the first takes.
//! - [`floors`] is the table of floors, and what climbs.
//! - [`circles`] are files that reach each other.
//! - [`report`] prints all of it.

pub mod circles;
mod declarations;
pub mod floors;
mod imports;
pub mod package;
mod references;
mod refused;
pub mod report;
mod test_code;
mod tokens;

use std::path::Path;

use crate::{
    circles::Circle,
    floors::{FLOORS, Floors, Survey},
    package::Package,
};

/// Each package's name, and its folder. The first has the floors.
const PACKAGES: [(&str, &str); 5] = [
    ("muster", ""),
    ("muster-sandbox", "sandbox"),
    ("muster-agent", "agent"),
    ("muster-world", "hack/world"),
    ("muster-house", "hack/house"),
];

#[derive(Debug)]
pub struct House {
    pub muster: Package,
    pub survey: Survey,
    pub others: Vec<Package>,
}

impl House {
    /// # Errors
    /// When a source cannot be read, parsed or followed, or the file of a `mod` is missing.
    pub fn read(repository: &Path) -> anyhow::Result<Self> {
        let [muster, others @ ..] = PACKAGES;
        let muster = Package::read(repository, muster.0, muster.1)?;
        let others =
            others.iter().map(|(name, folder)| Package::read(repository, name, folder)).collect::<Result<_, _>>()?;
        Ok(Self { survey: Floors::new(&FLOORS).survey(&muster), muster, others })
    }

    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        std::iter::once(&self.muster).chain(&self.others)
    }

    #[must_use]
    pub fn holds(&self) -> bool {
        self.survey.holds() && self.packages().all(|package| Circle::all(&package.imports()).is_empty())
    }
}
