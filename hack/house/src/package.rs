//! A package's files, and the arrows between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;

use crate::{circles::Arrow, declarations::Declarations, references::References};

pub type Names = BTreeSet<String>;

/// With the names that the first file takes.
pub type Arrows = BTreeMap<Arrow, Names>;

#[derive(Debug)]
pub struct Package {
    /// The folder of its sources, as it is shown before their paths.
    pub folder: String,
    /// By their paths below that folder.
    pub files: BTreeMap<String, Lines>,
    pub arrows: Arrows,
    /// From a file that hands on names by `pub use` to the file that it has them from.
    pub re_exports: Arrows,
    /// From a file that takes names through a `pub use` to the file that hands them on.
    pub through: Arrows,
}

#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub all: usize,
    /// None of a file that is compiled for tests only.
    pub without_tests: usize,
}

impl Package {
    /// # Errors
    /// When a source cannot be read, parsed or followed, or the file of a `mod` is missing.
    pub fn read(repository: &Path, name: &str, folder: &str) -> anyhow::Result<Self> {
        let folder = if folder.is_empty() { "src".to_owned() } else { format!("{folder}/src") };
        let mut texts = BTreeMap::new();
        read_folder(&repository.join(&folder), "", &mut texts)?;
        Self::parse(name, &folder, &texts).with_context(|| format!("in {folder}"))
    }

    /// # Errors
    /// When a text cannot be parsed or followed, or the file of a `mod` is missing.
    pub fn parse(name: &str, folder: &str, texts: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let declarations = Declarations::read(name, texts)?;
        let mut package = Self {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
            arrows: Arrows::new(),
            re_exports: Arrows::new(),
            through: Arrows::new(),
        };
        for (path, text) in texts {
            let all = text.lines().count();
            let Some(found) = References::of(&declarations, path) else {
                package.files.insert(path.clone(), Lines { all, without_tests: 0 });
                continue;
            };
            package.files.insert(path.clone(), Lines { all, without_tests: all.saturating_sub(found.test_lines) });
            package.arrows.extend(found.names.into_iter().map(|(to, names)| ((path.clone(), to), names)));
            package.re_exports.extend(found.re_exports.into_iter().map(|(to, names)| ((path.clone(), to), names)));
            package.through.extend(found.through.into_iter().map(|(to, names)| ((path.clone(), to), names)));
        }
        Ok(package)
    }

    /// The imports that may form a circle. A file that takes a name through a `pub use` needs the file that hands it on; a
    /// `mod.rs` does not need the children that it only hands on.
    #[must_use]
    pub fn imports(&self) -> Arrows {
        let mut imports = self.arrows.clone();
        for (arrow, names) in &self.through {
            imports.entry(arrow.clone()).or_default().extend(names.iter().cloned());
        }
        imports
    }
}

fn read_folder(folder: &Path, below: &str, texts: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().into_string().ok().with_context(|| format!("name of {}", path.display()))?;
        if path.is_dir() {
            read_folder(&path, &format!("{below}{name}/"), texts)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            texts.insert(format!("{below}{name}"), text);
        }
    }
    Ok(())
}
