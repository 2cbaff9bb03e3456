//! The architecture of this repository.

use std::path::Path;

use muster_house::{House, circles::Circle};

#[test]
fn the_floors_of_muster_hold() {
    let house = House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    assert!(house.survey.homeless.is_empty(), "files on no floor\n{house}");
    assert!(house.survey.climbs.is_empty(), "imports climb\n{house}");
    assert!(house.survey.circles.is_empty(), "rooms of one floor form a circle\n{house}");
    assert!(Circle::all(&house.muster.arrows).is_empty(), "files form a circle\n{house}");
    assert!(house.holds());
}
