//! What this tool cannot follow, and what the judged sources therefore may not have.

use anyhow::bail;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, File, ImplItem, Item, ItemUse, Macro, Meta, Stmt, Token,
    punctuated::Punctuated,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{
    imports::{Import, plain},
    test_code::{attributes, attributes_in_impl, is_test},
};

/// Attributes that change where a module or a macro is found.
const ATTRIBUTES: [&str; 3] = ["path", "macro_use", "macro_export"];

/// # Errors
/// When a file has what this tool cannot follow, outside of tests.
pub(crate) fn refuse(path: &str, syntax: &File) -> anyhow::Result<()> {
    let mut refused = Refused(Vec::new());
    refused.visit_file(syntax);
    if let Some((what, span)) = refused.0.first() {
        let line = span.start().line;
        bail!("{path}:{line}: {what} is not allowed, because this tool cannot tell which file it refers to");
    }
    Ok(())
}

struct Refused(Vec<(String, Span)>);

impl Refused {
    fn add(&mut self, what: &str, span: Span) {
        self.0.push((what.to_owned(), span));
    }

    fn add_attribute(&mut self, meta: &Meta) {
        for name in ATTRIBUTES {
            if meta.path().is_ident(name) {
                self.add(&format!("`#[{name}]`"), meta.span());
            }
        }
        // `cfg_attr(condition, attribute, …)`
        if let Meta::List(list) = meta
            && list.path.is_ident("cfg_attr")
            && let Ok(inner) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        {
            inner.iter().skip(1).for_each(|meta| self.add_attribute(meta));
        }
    }

    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut before = None;
        for token in tokens {
            let span = token.span();
            match (before.as_deref(), token) {
                (_, TokenTree::Ident(ident)) if ident == "mod" => self.add("a module inside a macro", span),
                (Some("extern"), TokenTree::Ident(ident)) if ident == "crate" => self.add("`extern crate`", span),
                (Some("include"), TokenTree::Punct(punct)) if punct.as_char() == '!' => self.add("`include!`", span),
                (_, TokenTree::Ident(ident)) => {
                    before = Some(plain(&ident));
                    continue;
                }
                (_, TokenTree::Group(group)) => self.add_tokens(group.stream()),
                (_, TokenTree::Punct(_) | TokenTree::Literal(_)) => {}
            }
            before = None;
        }
    }
}

impl<'ast> Visit<'ast> for Refused {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        if let Item::ExternCrate(item) = item {
            self.add("`extern crate`", item.span());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_test(attributes_in_impl(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Item(Item::Mod(item)) = statement
            && !is_test(&item.attrs)
        {
            self.add("a module inside a function", item.span());
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for import in Import::all(item) {
            if import.path.last().is_some_and(|name| name == "include") {
                self.add("`include!`", item.span());
            }
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if call.path.segments.last().is_some_and(|segment| segment.ident == "include") {
            self.add("`include!`", call.span());
        }
        self.add_tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.add_attribute(&attribute.meta);
    }
}
