//! What `use` brings into a file.

use syn::{
    Ident, Item, ItemUse, UseTree,
    ext::IdentExt as _,
    visit::{self, Visit},
};

use crate::test_code::{attributes, is_test};

/// What a path that begins with `::` begins with. The name of a package follows.
pub(crate) const ROOT: &str = "::";

/// One name of a `use`, and what it is called here; a glob has no name.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) name: Option<String>,
}

impl Import {
    pub(crate) fn all(item: &ItemUse) -> Vec<Self> {
        let mut imports = Vec::new();
        let mut before = Vec::from_iter(item.leading_colon.map(|_| ROOT.to_owned()));
        Self::collect(&item.tree, &mut before, &mut imports);
        imports
    }

    fn collect(tree: &UseTree, before: &mut Vec<String>, imports: &mut Vec<Self>) {
        let with = |before: &[String], ident: &Ident| {
            let mut path = before.to_vec();
            if ident != "self" || path.is_empty() {
                path.push(plain(ident));
            }
            path
        };
        match tree {
            UseTree::Path(path) => {
                before.push(plain(&path.ident));
                Self::collect(&path.tree, before, imports);
                before.pop();
            }
            UseTree::Name(name) => {
                let path = with(before, &name.ident);
                imports.push(Self { name: path.last().cloned(), path });
            }
            UseTree::Rename(rename) => {
                imports.push(Self { path: with(before, &rename.ident), name: Some(plain(&rename.rename)) });
            }
            UseTree::Glob(_) => imports.push(Self { path: before.clone(), name: None }),
            UseTree::Group(group) => group.items.iter().for_each(|tree| Self::collect(tree, before, imports)),
        }
    }
}

/// Those of an item, in the bodies of its functions, too.
#[derive(Default)]
pub(crate) struct Imports(pub(crate) Vec<Import>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.0.extend(Import::all(item));
    }
}

pub(crate) fn plain(ident: &Ident) -> String {
    ident.unraw().to_string()
}
