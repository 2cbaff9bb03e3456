//! What a person reads.

use std::fmt::{Display, Formatter, Result};

use crate::{
    House,
    circles::{Arrow, Circle},
    package::{Names, Package},
};

/// A circle of no more arrows than this is shown with all of them.
const FEW: usize = 12;

impl Display for House {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.show_floors(f)?;
        for package in self.packages() {
            show_circles(f, package)?;
        }
        self.show_size(f)?;
        let verdict = if self.holds() {
            "Passed: no import goes upwards, and there is no circle."
        } else {
            "Failed: see the files, imports and circles above."
        };
        writeln!(f, "\n{verdict}")
    }
}

impl House {
    fn show_floors(&self, f: &mut Formatter<'_>) -> Result {
        let Self { muster, survey, .. } = self;
        let folder = &muster.folder;
        writeln!(f, "Floors of {folder}, from the top. A file may import from its own module and from lower floors.")?;
        writeln!(f, "  {:51}{:>6}{:>21}{:>17}", "modules", "files", "lines without tests", "upward imports")?;
        for floor in &survey.floors {
            writeln!(f, "  {:51}{:>6}{:>21}{:>17}", floor.rooms, floor.files, floor.lines, floor.climbs)?;
        }
        if !survey.empty.is_empty() {
            writeln!(f, "  Modules of this table that do not exist: {}", survey.empty.join(" "))?;
        }
        if !survey.homeless.is_empty() {
            writeln!(f, "\nFiles that are on no floor: {}", survey.homeless.len())?;
            for file in &survey.homeless {
                writeln!(f, "    {folder}/{file}")?;
            }
        }
        writeln!(f, "\nImports from a higher floor, from another kind, or by lib.rs: {}", survey.climbs.len())?;
        show_arrows(f, folder, &survey.climbs)?;
        for circle in &survey.circles {
            let rooms: Vec<_> = circle.files.iter().map(String::as_str).collect();
            writeln!(f, "\nCircle of modules on one floor: {}", rooms.join(", "))?;
        }
        Ok(())
    }

    fn show_size(&self, f: &mut Formatter<'_>) -> Result {
        let Package { folder, files, .. } = &self.muster;
        let all: usize = files.values().map(|lines| lines.all).sum();
        let without_tests: usize = files.values().map(|lines| lines.without_tests).sum();
        writeln!(f, "\nLines in {folder}: {all}, without tests {without_tests}")?;
        if let Some((file, lines)) = files.iter().max_by_key(|(_, lines)| lines.all) {
            writeln!(f, "Longest file: {folder}/{file}, {} lines", lines.all)?;
        }
        Ok(())
    }
}

fn show_circles(f: &mut Formatter<'_>, package: &Package) -> Result {
    let imports = package.imports();
    let circles = Circle::all(&imports);
    let counted = package.files.values().filter(|lines| lines.without_tests > 0).count();
    writeln!(f, "\nCircles of imports in {} ({counted} files): {}", package.folder, circles.len())?;
    for Circle { files, arrows, ties } in &circles {
        write!(f, "  {} files, {} imports", files.len(), arrows.len())?;
        let shown = if arrows.len() <= FEW {
            writeln!(f, ":")?;
            arrows
        } else {
            writeln!(f, "; removing these {} breaks the circle:", ties.len())?;
            ties
        };
        let named = shown.iter().filter_map(|arrow| imports.get_key_value(arrow));
        show_arrows(f, &package.folder, named)?;
    }
    Ok(())
}

fn show_arrows<'a>(
    f: &mut Formatter<'_>,
    folder: &str,
    arrows: impl IntoIterator<Item = (&'a Arrow, &'a Names)>,
) -> Result {
    for ((from, to), names) in arrows {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        writeln!(f, "    {folder}/{from} -> {folder}/{to}: {}", names.join(", "))?;
    }
    Ok(())
}
