//! The modules of a package, what each declares and imports, and which file defines the name that a path ends at.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, ensure};
use syn::{Ident, Item, ItemMod, visit::Visit};

use crate::{
    imports::{Imports, ROOT, plain},
    refused::refuse,
    test_code::{attributes, is_test},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Module(usize),
    Item {
        file: String,
        name: String,
    },
    /// Of another package.
    Outside,
}

#[derive(Debug)]
enum Meaning {
    Module(usize),
    Item,
    Import(Vec<String>),
}

#[derive(Debug)]
struct Module {
    file: String,
    parent: Option<usize>,
    /// A name may mean a module and a function at once.
    names: HashMap<String, Vec<Meaning>>,
    globs: Vec<Vec<String>>,
    /// Of `macro_rules!`: child modules have these without an import.
    macros: HashSet<String>,
}

/// A file that is compiled without tests, and the module that it is.
pub(crate) struct Source {
    pub(crate) module: usize,
    pub(crate) syntax: syn::File,
}

pub(crate) struct Declarations {
    /// The package's own name, by which its binary names its library.
    package: String,
    library: Option<usize>,
    modules: Vec<Module>,
    /// Where the files of modules for tests are: `a/tests` for `a/tests.rs` and the folder `a/tests`.
    tests: Vec<String>,
    pub(crate) sources: BTreeMap<String, Source>,
}

impl Declarations {
    /// Follows the `mod` lines from every crate's root. `texts` are all files by their path below `src`.
    pub(crate) fn read(package: &str, texts: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut declarations = Self {
            package: package.replace('-', "_"),
            library: None,
            modules: Vec::new(),
            tests: Vec::new(),
            sources: BTreeMap::new(),
        };
        for root in texts.keys().filter(|path| {
            ["lib.rs", "main.rs"].contains(&path.as_str())
                || path.strip_prefix("bin/").is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"))
        }) {
            let module = declarations.read_file(texts, root, None)?;
            if root == "lib.rs" {
                declarations.library = Some(module);
            }
        }
        for path in texts.keys() {
            ensure!(declarations.reaches(path), "no `mod` line leads to {path}: declare it, or delete it");
        }
        Ok(declarations)
    }

    fn reaches(&self, path: &str) -> bool {
        self.sources.contains_key(path)
            || self
                .tests
                .iter()
                .any(|test| path.strip_prefix(test).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
    }

    fn read_file(
        &mut self,
        texts: &BTreeMap<String, String>,
        path: &str,
        parent: Option<usize>,
    ) -> anyhow::Result<usize> {
        let text = texts.get(path).with_context(|| format!("no file {path}"))?;
        let syntax = syn::parse_file(text).with_context(|| format!("cannot parse {path}"))?;
        refuse(path, &syntax)?;
        let module = self.add(path, parent);
        let (folder, file) = path.rsplit_once('/').map_or(("", path), |(folder, file)| (folder, file));
        let below = match file.strip_suffix(".rs") {
            Some("mod" | "lib" | "main") | None => folder.to_owned(),
            Some(_) if parent.is_none() => folder.to_owned(),
            Some(stem) => join(folder, stem),
        };
        self.declare(texts, module, &below, &syntax.items)?;
        self.sources.entry(path.to_owned()).or_insert(Source { module, syntax });
        Ok(module)
    }

    fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            names: HashMap::new(),
            globs: Vec::new(),
            macros: HashSet::new(),
        });
        self.modules.len() - 1
    }

    fn declare(
        &mut self,
        texts: &BTreeMap<String, String>,
        module: usize,
        below: &str,
        items: &[Item],
    ) -> anyhow::Result<()> {
        for item in items {
            if is_test(attributes(item)) {
                if let Item::Mod(child) = item {
                    self.tests.push(join(below, &plain(&child.ident)));
                }
                continue;
            }
            if let Item::Mod(child) = item {
                self.declare_module(texts, module, below, child)?;
                continue;
            }
            if let Some(name) = defined(item) {
                self.modules[module].names.entry(plain(name)).or_default().push(Meaning::Item);
                if let Item::Macro(_) = item {
                    self.modules[module].macros.insert(plain(name));
                }
            }
            // Those in the bodies of functions, too: as if they stood at the top.
            let mut imports = Imports::default();
            imports.visit_item(item);
            for import in imports.0 {
                let scope = &mut self.modules[module];
                match import.name {
                    Some(name) => scope.names.entry(name).or_default().push(Meaning::Import(import.path)),
                    None => scope.globs.push(import.path),
                }
            }
        }
        Ok(())
    }

    fn declare_module(
        &mut self,
        texts: &BTreeMap<String, String>,
        parent: usize,
        below: &str,
        item: &ItemMod,
    ) -> anyhow::Result<()> {
        let name = plain(&item.ident);
        let folder = join(below, &name);
        let module = if let Some((_, items)) = &item.content {
            let file = self.modules[parent].file.clone();
            let module = self.add(&file, Some(parent));
            self.declare(texts, module, &folder, items)?;
            module
        } else {
            let [file, nested] = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
            let path = if texts.contains_key(&file) { file } else { nested };
            let declared_in = self.modules[parent].file.clone();
            self.read_file(texts, &path, Some(parent)).with_context(|| format!("`mod {name}` of {declared_in}"))?
        };
        self.modules[parent].names.entry(name).or_default().push(Meaning::Module(module));
        Ok(())
    }

    pub(crate) fn file(&self, module: usize) -> &str {
        &self.modules[module].file
    }

    pub(crate) fn child(&self, module: usize, name: &Ident) -> Option<usize> {
        self.modules[module].names.get(&plain(name))?.iter().find_map(|meaning| match meaning {
            Meaning::Module(child) => Some(*child),
            Meaning::Item | Meaning::Import(_) => None,
        })
    }

    /// The file of the nearest module around this one that has a macro of this name.
    pub(crate) fn macro_of_parent(&self, module: usize, name: &Ident) -> Option<&str> {
        let scopes = std::iter::successors(Some(module), |module| self.modules[*module].parent);
        let has_it = |scope: &usize| self.modules[*scope].macros.contains(&plain(name));
        scopes.into_iter().find(has_it).map(|scope| self.file(scope))
    }

    /// What a path means in a module; nothing when it does not begin with a name of this package.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Option<Target> {
        self.follow(module, path, false, &mut HashSet::new())
    }

    fn follow(
        &self,
        module: usize,
        path: &[String],
        on_the_way: bool,
        seen: &mut HashSet<(usize, String)>,
    ) -> Option<Target> {
        if let [root, package, rest @ ..] = path
            && root == ROOT
        {
            let path = [&["crate".to_owned()], rest].concat();
            return if *package == self.package { self.follow(self.library?, &path, on_the_way, seen) } else { None };
        }
        let mut here = module;
        let mut inside = false;
        for (position, name) in path.iter().enumerate() {
            match name.as_str() {
                "self" => inside = true,
                "super" => (here, inside) = (self.modules[here].parent?, true),
                "crate" => {
                    while let Some(parent) = self.modules[here].parent {
                        here = parent;
                    }
                    inside = true;
                }
                _ => match self.look_up(here, name, on_the_way || position + 1 < path.len(), seen) {
                    Some(Target::Module(next)) => (here, inside) = (next, true),
                    Some(item @ Target::Item { .. }) => return Some(item),
                    // Handed on from another package, or made by a macro: the module is where it comes from.
                    Some(Target::Outside) | None if inside => {
                        return Some(Target::Item { file: self.modules[here].file.clone(), name: name.clone() });
                    }
                    None if *name == self.package => (here, inside) = (self.library?, true),
                    Some(Target::Outside) | None => return None,
                },
            }
        }
        Some(Target::Module(here))
    }

    /// A name that is `on_the_way` is to mean a module, where it means an item, too.
    fn look_up(
        &self,
        module: usize,
        name: &str,
        on_the_way: bool,
        seen: &mut HashSet<(usize, String)>,
    ) -> Option<Target> {
        let scope = &self.modules[module];
        let meanings = scope.names.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<_> = meanings
            .iter()
            .filter_map(|meaning| match meaning {
                Meaning::Module(child) => Some(Target::Module(*child)),
                Meaning::Item => Some(Target::Item { file: scope.file.clone(), name: name.to_owned() }),
                Meaning::Import(_) => None,
            })
            .collect();
        let wanted = |target: &Target| matches!(target, Target::Module(_)) == on_the_way;
        if !found.iter().any(wanted) && seen.insert((module, name.to_owned())) {
            for meaning in meanings {
                if let Meaning::Import(path) = meaning {
                    found.push(self.follow(module, path, on_the_way, seen).unwrap_or(Target::Outside));
                }
            }
            if found.is_empty() {
                found.extend(scope.globs.iter().filter_map(|path| match self.follow(module, path, true, seen) {
                    Some(Target::Module(from)) if from != module => self.look_up(from, name, on_the_way, seen),
                    _ => None,
                }));
            }
            seen.remove(&(module, name.to_owned()));
        }
        let best = found.iter().position(wanted).unwrap_or_default();
        (best < found.len()).then(|| found.swap_remove(best))
    }
}

fn defined(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
