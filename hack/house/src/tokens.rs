//! The paths in what a macro or an attribute is given.

use proc_macro2::{TokenStream, TokenTree};
use syn::Lit;

use crate::imports::{ROOT, plain};

/// Those of more than one name; whether a single name is a path is the macro's to say. `in_strings` reads the text of
/// string literals, too: as serde's `with` and schemars' `schema_with` do.
pub(crate) fn paths(tokens: TokenStream, in_strings: bool) -> Vec<Vec<String>> {
    let mut paths = Paths { in_strings, found: Vec::new() };
    paths.collect(tokens, &[]);
    paths.found.retain(|path| path.len() > 1);
    paths.found
}

struct Paths {
    in_strings: bool,
    found: Vec<Vec<String>>,
}

impl Paths {
    /// `before` is what stands before the braces of `use a::b::{…}`.
    fn collect(&mut self, tokens: TokenStream, before: &[String]) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut after_dot = false;
        for token in tokens {
            let goes_on = colons == 2 && !path.is_empty();
            if matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':') {
                colons += 1;
                continue;
            }
            if !goes_on {
                self.end(before, &mut path);
            }
            match token {
                TokenTree::Ident(ident) => {
                    if after_dot {
                        // A field or a method.
                        path.push(String::new());
                    } else if path.is_empty() && colons > 1 {
                        path.push(ROOT.to_owned());
                    }
                    path.push(plain(&ident));
                }
                TokenTree::Group(group) => {
                    let before = if goes_on { [before, &path].concat() } else { Vec::new() };
                    path.clear();
                    self.collect(group.stream(), &before);
                }
                TokenTree::Literal(literal) => {
                    self.end(before, &mut path);
                    self.read_string(Lit::new(literal));
                }
                TokenTree::Punct(punct) => {
                    self.end(before, &mut path);
                    (colons, after_dot) = (0, punct.as_char() == '.');
                    continue;
                }
            }
            (colons, after_dot) = (0, false);
        }
        self.end(before, &mut path);
    }

    fn end(&mut self, before: &[String], path: &mut Vec<String>) {
        if !path.is_empty() {
            self.found.push([before, path].concat());
            path.clear();
        }
    }

    fn read_string(&mut self, literal: Lit) {
        if self.in_strings
            && let Lit::Str(text) = literal
            && let Ok(tokens) = text.value().parse()
        {
            let found = paths(tokens, false);
            self.found.extend(found);
        }
    }
}
