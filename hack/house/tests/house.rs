//! The architecture of this repository.

use std::path::Path;

use muster_house::{House, circles::Circle};

#[test]
fn the_floors_of_muster_hold_and_no_package_has_a_circle() {
    let house = House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    assert!(house.survey.homeless.is_empty(), "files on no floor\n{house}");
    assert!(house.survey.climbs.is_empty(), "imports climb\n{house}");
    assert!(house.survey.circles.is_empty(), "rooms of one floor form a circle\n{house}");
    for package in house.packages() {
        assert!(Circle::all(&package.arrows).is_empty(), "files of {} form a circle\n{house}", package.folder);
    }
    assert!(house.holds());
}
