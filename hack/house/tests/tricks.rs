//! Ways to use a higher floor that are easy to miss: each is an import that climbs, or is refused.

use std::collections::BTreeMap;

use muster_house::{House, circles::Circle, floors::Floors, package::Package};

const TABLE: [&str; 4] = ["kinds/mod", "kinds/*", "workers", "ids"];

fn parse(files: &[(&str, &str)]) -> anyhow::Result<Package> {
    let texts: BTreeMap<_, _> = files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    Package::parse("muster", "src", &texts)
}

fn climbs(files: &[(&str, &str)]) -> Vec<String> {
    let package = parse(files).expect("what the test gives to be parsed");
    let survey = Floors::new(&TABLE).survey(&package);
    let climbs = survey.climbs.into_iter();
    climbs.map(|((from, to), names)| format!("{from} -> {to}: {}", Vec::from_iter(names).join(", "))).collect()
}

/// With `ids` as the lowest floor, below `workers/adoption.rs`.
fn with_ids(ids: &str) -> [(&'static str, &str); 4] {
    [
        ("lib.rs", "pub mod ids; pub mod workers;"),
        ("workers/mod.rs", "pub mod adoption;"),
        ("workers/adoption.rs", "pub fn tag() {} pub trait Adopt {}"),
        ("ids.rs", ids),
    ]
}

fn refusal(ids: &str) -> String {
    format!("{:#}", parse(&with_ids(ids)).expect_err(ids))
}

#[test]
fn every_way_to_name_a_higher_floor_climbs() {
    for (ids, names) in [
        // A path that ends at a module.
        (r#"struct Id { #[serde(with = "crate::workers::adoption")] id: u8 }"#, "adoption"),
        (r#"struct Id { #[cfg_attr(unix, serde(with = "crate::workers::adoption"))] id: u8 }"#, "adoption"),
        ("m!(crate::workers::adoption);", "adoption"),
        ("use crate::workers; m!(workers::adoption);", "adoption"),
        ("use crate::workers::adoption; m!(adoption);", "adoption"),
        // In strings, attributes and macros.
        (r#"#[serde(bound = "T: crate::workers::adoption::Adopt")] struct Id<T>(T);"#, "Adopt"),
        ("#[crate::workers::adoption::tag] struct Id;", "tag"),
        ("m! { use crate::{ids::Id, workers::adoption::{tag, Adopt}}; }", "Adopt, tag"),
        ("macro_rules! m { () => { $crate::workers::adoption::tag() } }", "tag"),
        // A glob.
        ("use crate::workers::adoption::*; fn f() { m!(tag()) }", "*"),
        // A re-export.
        ("pub use crate::workers::adoption::tag;", "pub use tag"),
        ("pub(crate) use crate::workers::adoption;", "pub use adoption"),
        ("pub use crate::workers::adoption::*;", "pub use adoption::*"),
        // By the name of the package.
        ("fn f() { ::muster::workers::adoption::tag() }", "tag"),
        ("use ::muster::workers::adoption::tag;", "tag"),
        ("m!(x: ::muster::workers::adoption::tag());", "tag"),
        // What is no test.
        ("#[anything::test] fn f() { crate::workers::adoption::tag() }", "tag"),
        ("#[anything::cfg(test)] fn f() { crate::workers::adoption::tag() }", "tag"),
        ("#[cfg_attr(unix, cfg(test))] fn f() { crate::workers::adoption::tag() }", "tag"),
    ] {
        assert_eq!(climbs(&with_ids(ids)), [format!("ids.rs -> workers/adoption.rs: {names}")], "{ids}");
    }
}

#[test]
fn the_name_of_a_file_makes_no_test() {
    let mut files = with_ids("mod tests;").to_vec();
    files.push(("ids/tests.rs", "use crate::workers::adoption::tag;"));
    assert_eq!(climbs(&files), ["ids/tests.rs -> workers/adoption.rs: tag"]);
}

#[test]
fn a_kind_may_not_hand_on_what_another_kind_has() {
    let files = [
        ("lib.rs", "pub mod kinds;"),
        ("kinds/mod.rs", "pub mod worker_fleet; pub mod worker_job;"),
        ("kinds/worker_fleet/mod.rs", "pub mod desired; pub use self::desired::Desired;"),
        ("kinds/worker_fleet/desired.rs", "pub struct Desired;"),
        ("kinds/worker_job/mod.rs", "pub use crate::kinds::worker_fleet::desired::Desired as D2;"),
    ];
    assert_eq!(climbs(&files), ["kinds/worker_job/mod.rs -> kinds/worker_fleet/desired.rs: pub use Desired"]);
}

#[test]
fn a_macro_of_a_module_above_climbs() {
    let files = [
        ("lib.rs", "pub mod kinds;"),
        ("kinds/mod.rs", "macro_rules! all { () => {} } pub mod worker_job;"),
        ("kinds/worker_job.rs", "all!();"),
    ];
    assert_eq!(climbs(&files), ["kinds/worker_job.rs -> kinds/mod.rs: all"]);
}

#[test]
fn lib_rs_may_not_be_a_detour() {
    let mut files = with_ids("fn f() { crate::tag() }");
    files[0].1 = "pub mod ids; pub mod workers; pub fn tag() { workers::adoption::tag() }";
    assert_eq!(climbs(&files), ["ids.rs -> lib.rs: tag", "lib.rs -> workers/adoption.rs: tag"]);
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for (ids, what) in [
        ("include!(\"../workers/adoption.rs\");", "`include!`"),
        ("fn f() { std::include!(\"x\") }", "`include!`"),
        ("use std::include as paste;", "`include!`"),
        ("m!(include!(\"x\"));", "`include!`"),
        ("#[path = \"x.rs\"] mod x;", "`#[path]`"),
        ("#[cfg_attr(unix, path = \"x.rs\")] mod ids;", "`#[path]`"),
        ("extern crate self as x;", "`extern crate`"),
        ("m! { extern crate self as x; }", "`extern crate`"),
        ("#[macro_use] mod x {}", "`#[macro_use]`"),
        ("#[macro_export] macro_rules! m { () => {} }", "`#[macro_export]`"),
        ("fn f() { mod x { use crate::workers::adoption::tag; } }", "a module inside a function"),
        ("m! { mod x; }", "a module inside a macro"),
    ] {
        let because = "is not allowed, because this tool cannot tell which file it refers to";
        let refusal = refusal(ids);
        assert!(refusal.contains(&format!("ids.rs:1: {what} {because}")), "{ids}: {refusal}");
    }
}

#[test]
fn tests_may_have_what_is_refused_elsewhere() {
    let ids = "#[cfg(test)] mod tests { fn f() { mod x {} include!(\"x\") } } fn g() { #[cfg(test)] mod y {} }";
    assert!(climbs(&with_ids(ids)).is_empty());
}

#[test]
fn a_file_that_no_module_declares_is_refused() {
    let mut files = with_ids("").to_vec();
    files.push(("ids/lost.rs", ""));
    assert_eq!(
        format!("{:#}", parse(&files).unwrap_err()),
        "no `mod` line leads to ids/lost.rs: declare it, or delete it"
    );
}

#[test]
fn an_imported_module_that_only_declares_children_is_no_arrow_and_no_circle() {
    let package = parse(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b; mod c; pub use self::b::B;"),
        ("a/b.rs", "use super::c; pub struct B(c::C);"),
        ("a/c.rs", "use crate::a; pub struct C; fn f(a: u8) -> a::B { a }"),
    ])
    .unwrap();
    let arrows: Vec<_> = package.arrows.keys().map(|(from, to)| format!("{from} -> {to}")).collect();
    assert_eq!(arrows, ["a/b.rs -> a/c.rs", "a/c.rs -> a/b.rs"]);
}

#[test]
fn a_file_that_takes_a_name_through_a_re_export_needs_the_file_that_hands_it_on() {
    let files = |c| {
        parse(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; mod c; pub use self::b::B; fn f(_: c::C) {}"),
            ("a/b.rs", "pub struct B;"),
            ("a/c.rs", c),
        ])
        .unwrap()
    };
    let [through, itself] = ["use super::B; pub struct C(B);", "use super::b::B; pub struct C(B);"].map(files);
    let circles = Circle::all(&through.imports());
    assert_eq!(circles[0].files, ["a/mod.rs", "a/c.rs"].map(str::to_owned).into());
    assert!(Circle::all(&itself.imports()).is_empty());
}

#[test]
fn a_circle_of_any_package_fails() {
    let fine = || parse(&[("lib.rs", "")]).unwrap();
    let circle = parse(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")]);
    let circle = circle.unwrap();
    assert_eq!(Circle::all(&circle.arrows).len(), 1);
    let house = |other| House { survey: Floors::new(&[]).survey(&fine()), muster: fine(), others: vec![other] };
    assert!(house(fine()).holds());
    assert!(!house(circle).holds());
}
