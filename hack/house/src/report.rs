//! What a person reads.

use std::{
    collections::BTreeSet,
    fmt::{Display, Formatter, Result},
};

use crate::{House, circles::Circle, package::Package};

/// A circle of no more arrows than this is shown with all of them.
const FEW: usize = 12;

impl Display for House {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.show_floors(f)?;
        for package in std::iter::once(&self.muster).chain(&self.others) {
            show_circles(f, package)?;
        }
        self.show_size(f)?;
        writeln!(f, "\n{}", if self.holds() { "The floors hold." } else { "The floors do not hold." })
    }
}

impl House {
    fn show_floors(&self, f: &mut Formatter<'_>) -> Result {
        let Self { muster, survey, .. } = self;
        writeln!(
            f,
            "Floors of {}, from the top: a file imports its own room and those below. Lines are without tests",
            muster.folder
        )?;
        writeln!(f, "  {:46}{:>7}{:>8}{:>20}", "", "files", "lines", "imports that climb")?;
        for floor in &survey.floors {
            writeln!(f, "  {:46}{:>7}{:>8}{:>20}", floor.rooms, floor.files, floor.lines, floor.climbs)?;
        }
        if !survey.empty.is_empty() {
            writeln!(f, "  Names without a file: {}", survey.empty.join(" "))?;
        }
        if !survey.homeless.is_empty() {
            writeln!(f, "\nFiles on no floor: {}", survey.homeless.len())?;
            for file in &survey.homeless {
                writeln!(f, "  {}/{file}", muster.folder)?;
            }
        }
        writeln!(f, "\nImports that climb: {}", survey.climbs.len())?;
        show_arrows(f, muster, survey.climbs.keys())?;
        for circle in &survey.circles {
            let rooms: Vec<_> = circle.files.iter().map(String::as_str).collect();
            writeln!(f, "\nBeside each other, and in a circle: {}", rooms.join(", "))?;
        }
        Ok(())
    }

    fn show_size(&self, f: &mut Formatter<'_>) -> Result {
        let Package { folder, files, .. } = &self.muster;
        let all: usize = files.values().map(|lines| lines.all).sum();
        let without_tests: usize = files.values().map(|lines| lines.without_tests).sum();
        writeln!(f, "\nLines of {folder}: {all}, without tests {without_tests}")?;
        if let Some((file, lines)) = files.iter().max_by_key(|(_, lines)| lines.all) {
            writeln!(f, "Longest file: {folder}/{file}, {} lines", lines.all)?;
        }
        Ok(())
    }
}

fn show_circles(f: &mut Formatter<'_>, package: &Package) -> Result {
    let circles = Circle::all(&package.arrows);
    let files: usize = circles.iter().map(|circle| circle.files.len()).sum();
    let counted = package.files.values().filter(|lines| lines.without_tests > 0).count();
    writeln!(f, "\nCircles of {}: {}, with {files} of {counted} files", package.folder, circles.len())?;
    for circle in circles {
        let few = circle.arrows.len() <= FEW;
        let (shown, what) = if few {
            (&circle.arrows, format!("{} imports", circle.arrows.len()))
        } else {
            (
                &circle.ties,
                format!("{} imports, and no circle without these {}", circle.arrows.len(), circle.ties.len()),
            )
        };
        writeln!(f, "  {} files by {what}:", circle.files.len())?;
        show_arrows(f, package, shown)?;
    }
    Ok(())
}

fn show_arrows<'a>(
    f: &mut Formatter<'_>,
    package: &Package,
    arrows: impl IntoIterator<Item = &'a (String, String)>,
) -> Result {
    for arrow in arrows {
        let names: BTreeSet<_> = package.arrows.get(arrow).into_iter().flatten().map(String::as_str).collect();
        let names: Vec<_> = names.into_iter().collect();
        let folder = &package.folder;
        writeln!(f, "    {folder}/{} -> {folder}/{}: {}", arrow.0, arrow.1, names.join(", "))?;
    }
    Ok(())
}
