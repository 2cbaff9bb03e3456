//! Prints the architecture of this repository, and fails when muster's floors do not hold or files form a circle.

use std::{path::Path, process::ExitCode};

use muster_house::House;

fn main() -> anyhow::Result<ExitCode> {
    let house = House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    print!("{house}");
    Ok(if house.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
