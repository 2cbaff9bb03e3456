//! The floors of muster: a file imports what stands below it, and nobody climbs.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    circles::Circle,
    package::{Arrows, Package},
};

/// From the top. A name is a room: `name.rs`, the folder `name/`, or both; a name with a slash is one file. Rooms of one
/// floor may import each other as long as they form no circle; in `name/*` each folder is a room, and these never import
/// each other.
pub const FLOORS: [&str; 16] = [
    "main cli logs",
    "controller manifests",
    "client",
    "http",
    "kinds/mod",
    "kinds/*",
    "workers",
    "reconcile",
    "access",
    "inventory",
    "aws",
    "k8s",
    "write_ahead",
    "crd",
    "lease metrics config",
    "ids clock condition schedule tags text error_chain single_flight",
];

/// It declares the modules, and stands on no floor: it may not import or define anything.
const LIBRARY: &str = "lib.rs";

#[derive(Debug)]
pub struct Floors(Vec<Vec<&'static str>>);

/// What the floors are like, and what offends against them.
#[derive(Debug)]
pub struct Survey {
    pub floors: Vec<Floor>,
    pub climbs: Arrows,
    /// Files that stand on no floor.
    pub homeless: Vec<String>,
    /// Rooms of one floor that import each other in a circle.
    pub circles: Vec<Circle>,
    /// Names of the table that no file has.
    pub empty: Vec<String>,
}

#[derive(Debug)]
pub struct Floor {
    pub rooms: String,
    pub files: usize,
    pub lines: usize,
    pub climbs: usize,
}

/// Where a file stands: the floor, counted from the top, and the room.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    floor: usize,
    room: String,
    /// Whether the rooms of the floor keep to themselves.
    apart: bool,
}

impl Floors {
    #[must_use]
    pub fn new(table: &[&'static str]) -> Self {
        Self(table.iter().map(|rooms| rooms.split_whitespace().collect()).collect())
    }

    fn place(&self, file: &str) -> Option<Place> {
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let mut parts = path.split('/');
        let first = parts.next()?;
        self.0.iter().enumerate().find_map(|(floor, rooms)| {
            rooms.iter().find_map(|name| match name.strip_suffix("/*") {
                None => {
                    (*name == first || *name == path).then(|| Place { floor, room: (*name).to_owned(), apart: false })
                }
                Some(folder) => (folder == first).then(|| {
                    let room = parts.clone().next().map_or(first.to_owned(), |room| format!("{first}/{room}"));
                    Place { floor, room, apart: true }
                }),
            })
        })
    }

    #[must_use]
    pub fn survey(&self, package: &Package) -> Survey {
        let mut floors: Vec<_> =
            self.0.iter().map(|rooms| Floor { rooms: rooms.join(" "), files: 0, lines: 0, climbs: 0 }).collect();
        let mut places = BTreeMap::new();
        let mut homeless = Vec::new();
        for (file, lines) in package.files.iter().filter(|(file, lines)| lines.without_tests > 0 && *file != LIBRARY) {
            if let Some(place) = self.place(file) {
                floors[place.floor].files += 1;
                floors[place.floor].lines += lines.without_tests;
                places.insert(file, place);
            } else {
                homeless.push(file.clone());
            }
        }
        let mut climbs = Arrows::new();
        let mut beside = BTreeMap::new();
        for (arrow, names) in uses(package) {
            if arrow.0 == LIBRARY || arrow.1 == LIBRARY {
                climbs.insert(arrow, names);
                continue;
            }
            let (Some(from), Some(to)) = (places.get(&arrow.0), places.get(&arrow.1)) else { continue };
            if from.room == to.room {
                continue;
            }
            if to.floor < from.floor || to.floor == from.floor && from.apart {
                floors[from.floor].climbs += 1;
                climbs.insert(arrow, names);
            } else if to.floor == from.floor {
                beside.insert((from.room.clone(), to.room.clone()), ());
            }
        }
        let taken: BTreeSet<_> = places
            .values()
            .flat_map(|place| [&*place.room, place.room.split('/').next().unwrap_or_default()])
            .collect();
        let names = self.0.iter().flatten();
        let empty =
            names.filter(|name| !taken.contains(name.trim_end_matches("/*"))).map(ToString::to_string).collect();
        Survey { floors, climbs, homeless, circles: Circle::all(&beside), empty }
    }
}

/// What files import, and what they hand on.
fn uses(package: &Package) -> Arrows {
    let mut uses = package.imports();
    for (arrow, names) in &package.re_exports {
        uses.entry(arrow.clone()).or_default().extend(names.iter().map(|name| format!("pub use {name}")));
    }
    uses
}

impl Survey {
    #[must_use]
    pub fn holds(&self) -> bool {
        self.climbs.is_empty() && self.homeless.is_empty() && self.circles.is_empty()
    }
}
