//! A package's files, and the arrows between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;

use crate::{declarations::Declarations, references::References};

/// From one file to another, the names that the first takes.
pub type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

#[derive(Debug)]
pub struct Package {
    /// The folder of its sources, as it is shown before their paths.
    pub folder: String,
    /// By their paths below that folder.
    pub files: BTreeMap<String, Lines>,
    pub arrows: Arrows,
}

#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub all: usize,
    /// None of a file that is compiled for tests only, or not at all.
    pub without_tests: usize,
}

impl Package {
    /// # Errors
    /// When a source cannot be read or parsed, or the file of a `mod` is missing.
    pub fn read(repository: &Path, name: &str, folder: &str) -> anyhow::Result<Self> {
        let folder = if folder.is_empty() { "src".to_owned() } else { format!("{folder}/src") };
        let mut texts = BTreeMap::new();
        read_folder(&repository.join(&folder), "", &mut texts)?;
        Self::parse(name, &folder, &texts).with_context(|| format!("in {folder}"))
    }

    /// # Errors
    /// When a text cannot be parsed, or the file of a `mod` is missing.
    pub fn parse(name: &str, folder: &str, texts: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let declarations = Declarations::read(name, texts)?;
        let mut files = BTreeMap::new();
        let mut arrows = Arrows::new();
        for (path, text) in texts {
            let all = text.lines().count();
            let references = References::of(&declarations, path);
            let without_tests = references.as_ref().map_or(0, |references| all.saturating_sub(references.test_lines));
            files.insert(path.clone(), Lines { all, without_tests });
            for (to, names) in references.into_iter().flat_map(|references| references.names) {
                arrows.insert((path.clone(), to), names);
            }
        }
        Ok(Self { folder: folder.to_owned(), files, arrows })
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
