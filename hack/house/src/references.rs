//! What a file names of other files of its package.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proc_macro2::TokenStream;
use syn::{
    Arm, Attribute, Field, FieldValue, ImplItem, Item, ItemMod, ItemUse, Local, Macro, Meta, Path, Variant, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{
    declarations::{Declarations, Target},
    imports::{Import, ROOT, plain},
    test_code::{attributes, attributes_in_impl, is_test},
    tokens::paths,
};

pub(crate) struct References<'a> {
    declarations: &'a Declarations,
    module: usize,
    /// By the file that defines them, the names that are taken.
    pub(crate) names: BTreeMap<String, BTreeSet<String>>,
    /// As `names`, what is handed on by `pub use`.
    pub(crate) re_exports: BTreeMap<String, BTreeSet<String>>,
    /// By the file that hands them on, the names that are taken through its `pub use`.
    pub(crate) through: BTreeMap<String, BTreeSet<String>>,
    pub(crate) test_lines: usize,
    /// Imported modules by the module and the name that they are imported to. They count by what is used through them.
    modules: HashMap<(usize, String), usize>,
    used: HashSet<(usize, String)>,
}

impl<'a> References<'a> {
    pub(crate) fn of(declarations: &'a Declarations, file: &str) -> Option<Self> {
        let source = declarations.sources.get(file)?;
        let mut references = Self {
            declarations,
            module: source.module,
            names: BTreeMap::new(),
            re_exports: BTreeMap::new(),
            through: BTreeMap::new(),
            test_lines: 0,
            modules: HashMap::new(),
            used: HashSet::new(),
        };
        references.visit_file(&source.syntax);
        for (import, module) in std::mem::take(&mut references.modules) {
            if !references.used.contains(&import) {
                references.take(declarations.file(module).to_owned(), import.1);
            }
        }
        references.names.remove(file);
        references.re_exports.remove(file);
        references.through.remove(file);
        Some(references)
    }

    fn take(&mut self, file: String, name: String) {
        self.names.entry(file).or_default().insert(name);
    }

    /// The file that a path refers to, and the name that it takes of it.
    fn target(&self, path: &[String]) -> Option<(String, String)> {
        match self.declarations.resolve(self.module, path)? {
            Target::Item { file, name } => Some((file, name)),
            // A single name may be a variable, too.
            Target::Module(module) if path.len() > 1 => {
                Some((self.declarations.file(module).to_owned(), path.last()?.clone()))
            }
            Target::Module(_) | Target::Outside => None,
        }
    }

    /// The file of the module that a path names, where another file defines what the path ends at.
    fn facade(&self, path: &[String], defined_in: &str) -> Option<String> {
        let (_, module @ [_, ..]) = path.split_last()? else { return None };
        let Target::Module(module) = self.declarations.resolve(self.module, module)? else { return None };
        let file = self.declarations.file(module);
        (file != defined_in && !matches!(self.declarations.resolve(self.module, path)?, Target::Module(_)))
            .then(|| file.to_owned())
    }

    fn name(&mut self, path: Vec<String>) {
        if let Some((file, name)) = self.target(&path) {
            if let Some(facade) = self.facade(&path, &file) {
                self.through.entry(facade).or_default().insert(name.clone());
            }
            self.take(file, name);
            self.used.extend(path.into_iter().next().map(|first| (self.module, first)));
        }
    }

    fn name_all(&mut self, tokens: TokenStream, in_strings: bool) {
        paths(tokens, in_strings).into_iter().for_each(|path| self.name(path));
    }

    fn import(&mut self, import: Import) {
        match (self.declarations.resolve(self.module, &import.path), import.name) {
            (Some(Target::Module(module)), Some(name)) => {
                self.modules.insert((self.module, name), module);
            }
            // What a glob brings may be used where it cannot be seen: in a macro.
            (Some(Target::Module(module)), None) => {
                self.take(self.declarations.file(module).to_owned(), "*".to_owned())
            }
            (Some(Target::Item { .. }), _) => self.name(import.path),
            (Some(Target::Outside) | None, _) => {}
        }
    }
}

impl<'ast> Visit<'ast> for References<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            self.test_lines += lines(item);
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if is_test(attributes_in_impl(item)) {
            self.test_lines += lines(item);
        } else {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some()
            && let Some(child) = self.declarations.child(self.module, &item.ident)
        {
            let parent = std::mem::replace(&mut self.module, child);
            visit::visit_item_mod(self, item);
            self.module = parent;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for import in Import::all(item) {
            if matches!(item.vis, Visibility::Inherited) {
                self.import(import);
            } else if let Some((file, name)) = self.target(&import.path) {
                let name = if import.name.is_some() { name } else { format!("{name}::*") };
                self.re_exports.entry(file).or_default().insert(name);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.name(names(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        if let Some(name) = call.path.get_ident()
            && let Some(file) = self.declarations.macro_of_parent(self.module, name)
        {
            self.take(file.to_owned(), plain(name));
        }
        self.name_all(call.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().segments.len() > 1 {
            self.visit_path(attribute.path());
        }
        match &attribute.meta {
            Meta::List(list) => self.name_all(list.tokens.clone(), true),
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
            Meta::Path(_) => {}
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if !is_test(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast FieldValue) {
        if !is_test(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }
}

fn names(path: &Path) -> Vec<String> {
    let root = path.leading_colon.map(|_| ROOT.to_owned());
    root.into_iter().chain(path.segments.iter().map(|segment| plain(&segment.ident))).collect()
}

fn lines(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}
