//! What is found in small packages.

use std::collections::BTreeMap;

use muster_house::{
    circles::Circle,
    floors::{Floors, Survey},
    package::Package,
};

const TABLE: [&str; 4] = ["main", "kinds/*", "workers", "ids clock"];

fn package(files: &[(&str, &str)]) -> Package {
    let texts: BTreeMap<_, _> = files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    Package::parse("muster", "src", &texts).expect("what the test gives to be parsed")
}

fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    package(files)
        .arrows
        .into_iter()
        .map(|((from, to), names)| format!("{from} -> {to}: {}", Vec::from_iter(names).join(", ")))
        .collect()
}

fn survey(files: &[(&str, &str)]) -> Survey {
    Floors::new(&TABLE).survey(&package(files))
}

#[test]
fn an_import_of_a_higher_floor_climbs() {
    let survey = survey(&[
        ("lib.rs", "pub mod ids; pub mod workers;"),
        ("ids.rs", "use crate::workers::Worker; pub struct FleetId(Worker);"),
        ("workers.rs", "use crate::ids::FleetId; pub struct Worker(FleetId);"),
    ]);
    let climbs: Vec<_> = survey.climbs.iter().collect();
    assert_eq!(climbs, [(&("ids.rs".into(), "workers.rs".into()), &["Worker".to_owned()].into())]);
    assert_eq!(survey.floors[3].climbs, 1);
    assert!(!survey.holds());
}

#[test]
fn an_import_of_a_lower_floor_and_of_the_same_room_does_not_climb() {
    let survey = survey(&[
        ("lib.rs", "pub mod clock; pub mod ids; pub mod workers;"),
        ("main.rs", "fn main() { muster::workers::run() }"),
        ("clock.rs", "pub struct Clock;"),
        ("ids.rs", "use crate::clock::Clock; pub struct FleetId(Clock);"),
        ("workers/mod.rs", "mod launch; pub fn run() { launch::launch() }"),
        ("workers/launch.rs", "use crate::ids; pub fn launch() { ids::FleetId(super::super::clock::Clock); }"),
    ]);
    assert!(survey.climbs.is_empty(), "{:?}", survey.climbs);
    assert!(survey.holds());
    assert_eq!(survey.floors.iter().map(|floor| floor.files).collect::<Vec<_>>(), [1, 0, 2, 2]);
    assert_eq!(survey.empty, ["kinds/*"]);
}

#[test]
fn kinds_may_not_import_each_other() {
    let survey = survey(&[
        ("lib.rs", "pub mod kinds;"),
        ("kinds/mod.rs", "pub mod worker_fleet; pub mod worker_job;"),
        ("kinds/worker_fleet/mod.rs", "mod crd; pub use self::crd::WorkerFleet;"),
        ("kinds/worker_fleet/crd.rs", "pub struct WorkerFleet;"),
        (
            "kinds/worker_job/mod.rs",
            "mod plan; use super::worker_fleet::WorkerFleet; fn f(_: WorkerFleet) { plan::plan() }",
        ),
        ("kinds/worker_job/plan.rs", "pub fn plan() {}"),
    ]);
    let climbs: Vec<_> = survey.climbs.keys().collect();
    let to = |file: &str| ("kinds/worker_job/mod.rs".to_owned(), format!("kinds/worker_fleet/{file}"));
    assert_eq!(climbs, [&to("crd.rs"), &to("mod.rs")]);
}

#[test]
fn a_file_on_no_floor_is_named() {
    let survey = survey(&[("lib.rs", "pub mod context;"), ("context.rs", "pub struct Context;")]);
    assert_eq!(survey.homeless, ["context.rs"]);
    assert!(!survey.holds());
}

#[test]
fn rooms_of_one_floor_may_not_form_a_circle() {
    let survey = survey(&[
        ("lib.rs", "mod clock; mod ids;"),
        ("clock/mod.rs", "mod tick; pub struct Clock;"),
        ("clock/tick.rs", "use crate::ids::FleetId;"),
        ("ids.rs", "use crate::clock::Clock; pub struct FleetId;"),
    ]);
    assert!(survey.climbs.is_empty());
    assert_eq!(survey.circles.len(), 1);
    assert!(!survey.holds());
}

#[test]
fn a_name_counts_for_the_file_that_defines_it() {
    let found = arrows(&[
        ("lib.rs", "mod aws; mod workers; mod named; mod all;"),
        ("aws/mod.rs", "mod ec2; mod error; pub(crate) use self::{ec2::Ec2, error::Error as AwsError};"),
        ("aws/ec2.rs", "pub struct Ec2;"),
        ("aws/error.rs", "pub struct Error;"),
        ("named.rs", "pub use crate::aws::AwsError;"),
        ("all.rs", "pub use crate::named::*;"),
        ("workers.rs", "use crate::{all::AwsError, aws::Ec2}; pub use crate::kube::Api;"),
    ]);
    assert_eq!(found, ["workers.rs -> aws/ec2.rs: Ec2", "workers.rs -> aws/error.rs: Error"]);
}

#[test]
fn re_exports_that_run_in_a_circle_end() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "pub use crate::b::{self, *, Lost};"),
        ("b.rs", "pub use crate::a::{*, Lost}; pub struct Found;"),
        ("c.rs", "use crate::a::{Found, Lost};"),
    ]);
    assert!(found.contains(&"c.rs -> b.rs: Found".to_owned()), "{found:?}");
}

#[test]
fn code_of_tests_does_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "struct A;\n\
             impl A {\n\
             #[cfg(all(test, unix))]\n\
             fn f() -> crate::b::B {}\n\
             }\n\
             #[cfg(test)]\n\
             mod simulation;\n\
             #[cfg(test)]\n\
             mod tests {\n\
             use crate::b::B;\n\
             }\n",
        ),
        ("a/simulation.rs", "use crate::b::B;"),
        ("b.rs", "#[cfg(test)] mod tests; pub struct B;"),
        ("b/tests.rs", "use crate::a::A;"),
        ("b/tests/deep.rs", "use crate::a::A;"),
    ];
    assert!(arrows(&files).is_empty(), "{:?}", arrows(&files));
    let package = package(&files);
    let without_tests = |file| package.files[file].without_tests;
    assert_eq!((package.files["a.rs"].all, without_tests("a.rs")), (11, 3));
    assert_eq!((without_tests("a/simulation.rs"), without_tests("b/tests.rs")), (0, 0));
}

#[test]
fn code_that_is_not_for_tests_alone_counts() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#[cfg(not(test))] use crate::b::B; #[cfg(any(test, unix))] use crate::b::C;"),
        ("b.rs", "pub struct B; pub struct C;"),
    ]);
    assert_eq!(found, ["a.rs -> b.rs: B, C"]);
}

#[test]
fn paths_count_wherever_they_stand() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            r#"
            #[derive(Debug)]
            struct Fields {
                #[serde(with = "crate::b::attribute")]
                one: Vec<crate::b::Type>,
            }
            fn body(x: u8) {
                crate::b::call();
                if let super::b::Pattern::Some(_) = x {}
                info!(x = %self::super::b::in_macro(x), y = crate::b::Deep { z: [crate::b::deeper()] });
                crate::b::a_macro!();
                use crate::b::Local;
            }
            impl crate::b::Trait for Fields {}
            "#,
        ),
        ("b.rs", "pub struct Type;"),
    ]);
    let names = "Deep, Local, Pattern, Trait, Type, a_macro, attribute, call, deeper, in_macro";
    assert_eq!(found, [format!("a.rs -> b.rs: {names}")]);
}

#[test]
fn an_imported_module_counts_by_what_is_used_through_it() {
    let found = arrows(&[
        ("lib.rs", "mod workers; mod a; mod b; mod c;"),
        ("workers/mod.rs", "pub mod parameters;"),
        ("workers/parameters/mod.rs", "mod sync; pub use self::sync::sync; pub mod store; fn own() { store::put() }"),
        ("workers/parameters/sync.rs", "pub fn sync() {}"),
        ("workers/parameters/store.rs", "pub fn put() {}"),
        ("a.rs", "use crate::workers::parameters; fn f() { parameters::sync(); parameters::store::put() }"),
        ("b.rs", "use crate::workers::{self, parameters}; fn f() { println!(\"{}\", workers::parameters::sync()) }"),
        ("c.rs", "use crate::workers::parameters as p; fn f() { p::sync() }"),
    ]);
    assert_eq!(
        found,
        [
            "a.rs -> workers/parameters/store.rs: put",
            "a.rs -> workers/parameters/sync.rs: sync",
            "b.rs -> workers/parameters/mod.rs: parameters",
            "b.rs -> workers/parameters/sync.rs: sync",
            "c.rs -> workers/parameters/sync.rs: sync",
            "workers/parameters/mod.rs -> workers/parameters/store.rs: put",
        ]
    );
}

#[test]
fn names_of_other_packages_do_not_count() {
    let found = arrows(&[
        ("lib.rs", "mod http; mod a;"),
        ("http.rs", "pub use http::StatusCode;"),
        (
            "a.rs",
            "use http::Request; use kube::Api as Kube; fn f(http: u8) -> ::http::Response { http::get(); http + 1 }",
        ),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_name_that_is_handed_on_from_another_package_counts_for_the_file_that_does_so() {
    let found = arrows(&[
        ("lib.rs", "mod web; mod a;"),
        ("web.rs", "pub use http::StatusCode; made! { struct Made; }"),
        ("a.rs", "use crate::web::{Made, StatusCode};"),
    ]);
    assert_eq!(found, ["a.rs -> web.rs: Made, StatusCode"]);
}

#[test]
fn a_name_may_be_a_module_and_a_function() {
    let found = arrows(&[
        ("lib.rs", "mod crds; mod a;"),
        ("crds.rs", "mod reference; pub use self::reference::reference;"),
        ("crds/reference.rs", "pub fn reference() {} pub fn other() {}"),
        ("a.rs", "use crate::crds::reference; fn f() { reference(); reference::other() }"),
    ]);
    assert_eq!(found, ["a.rs -> crds/reference.rs: other, reference"]);
}

#[test]
fn files_that_reach_each_other_are_a_circle() {
    let package = package(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "use crate::a::A;"),
    ]);
    let [circle] = Circle::all(&package.arrows).try_into().unwrap();
    assert_eq!(circle.files, ["a.rs", "b.rs", "c.rs"].map(str::to_owned).into());
    assert_eq!((circle.arrows.len(), circle.ties.len()), (3, 1));
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let texts = BTreeMap::from([("lib.rs".to_owned(), "mod a;".to_owned())]);
    let error = Package::parse("muster", "src", &texts).unwrap_err();
    assert_eq!(format!("{error:#}"), "`mod a` of lib.rs: no file a/mod.rs");
}
