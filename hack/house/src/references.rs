//! What a file names of other files of its package.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Arm, Attribute, Field, FieldValue, ImplItem, Item, ItemMod, ItemUse, Lit, Local, Macro, Path, Variant, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{
    declarations::{Declarations, Import, Target, plain},
    test_code::{attributes, attributes_in_impl, is_test},
};

pub(crate) struct References<'a> {
    declarations: &'a Declarations,
    module: usize,
    /// By the file that defines them, the names that are taken.
    pub(crate) names: BTreeMap<String, BTreeSet<String>>,
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
        Some(references)
    }

    fn take(&mut self, file: String, name: String) {
        self.names.entry(file).or_default().insert(name);
    }

    fn name(&mut self, path: Vec<String>) {
        if let Some(Target::Item { file, name }) = self.declarations.resolve(self.module, &path) {
            self.take(file, name);
            self.used.extend(path.into_iter().next().map(|first| (self.module, first)));
        }
    }

    /// The paths of more than one name in what a macro is given; whether a single name is a path is the macro's to say.
    fn name_all(&mut self, tokens: TokenStream, strings: bool) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut after_dot = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name_longer(std::mem::take(&mut path));
                    }
                    // A field or a method, or a path that begins with `::` or `<T>::`.
                    let elsewhere = after_dot || colons > 2 || colons == 2 && path.is_empty();
                    path.push(if elsewhere { String::new() } else { plain(&ident) });
                    (colons, after_dot) = (0, false);
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(punct) => after_dot = punct.as_char() == '.',
                TokenTree::Group(group) => {
                    self.name_all(group.stream(), strings);
                    after_dot = false;
                }
                TokenTree::Literal(literal) => {
                    if strings && let Lit::Str(text) = Lit::new(literal) {
                        // As serde's `with` and schemars' `schema_with` have it.
                        if let Ok(path) = text.parse::<Path>() {
                            self.name_longer(path.segments.iter().map(|segment| plain(&segment.ident)).collect());
                        }
                    }
                    after_dot = false;
                }
            }
            self.name_longer(std::mem::take(&mut path));
            colons = 0;
        }
        self.name_longer(path);
    }

    fn name_longer(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.name(path);
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
        // What hands a name on does not use it.
        if !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        for import in Import::all(item) {
            match self.declarations.resolve(self.module, &import.path) {
                Some(Target::Module(module)) => {
                    if let Some(name) = import.name {
                        self.modules.insert((self.module, name), module);
                    }
                }
                Some(Target::Item { .. }) => self.name(import.path),
                Some(Target::Outside) | None => {}
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            self.name(path.segments.iter().map(|segment| plain(&segment.ident)).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.name_all(call.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.name_all(list.tokens.clone(), true);
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

fn lines(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}
