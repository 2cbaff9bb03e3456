//! The values that one FleetReport reads from the objects of its sources. Only changed objects are read again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    crd::fleet_report::{RejectionReason, Trust},
    kinds::fleet_report::{
        desired::Reading,
        index::{Content, Entry, Index},
        memory_budget::{Held, Member, Room},
        report::{self, Rejection, Report},
    },
};

/// With more unused shapes than this, all objects are read again, so that ever new values do not fill the memory.
const UNUSED_SHAPES: usize = 1024;

/// The memory of the fact of one object, and of its instance in the result, in bytes.
const FACT: u64 = 96;

/// The memory of a value or a shape in addition to its text, in bytes.
const VALUE: u64 = 64;

/// The facts of all objects, sorted by source and key.
#[derive(Debug)]
pub(super) struct View {
    reading: Arc<Reading>,
    member: Arc<Member>,
    /// Of the facts and the shapes.
    room: Room,
    facts_held: u64,
    shapes: Shapes,
    sources: Vec<SourceView>,
}

#[derive(Debug)]
struct SourceView {
    name: String,
    trust: Trust,
    facts: Vec<(Arc<Entry>, Fact)>,
    /// The number of objects whose values could not be kept.
    left_out: usize,
}

/// The result of reading one object.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Report {
        time: Moment,
        shape: Shape,
        cut: bool,
    },
    Rejected(RejectionReason),
    /// There was no memory for its values.
    LeftOut,
}

/// A time to the millisecond, half as large as a [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(time.as_millisecond())
    }
}

impl From<Moment> for Timestamp {
    fn from(Moment(time): Moment) -> Self {
        Self::from_millisecond(time).unwrap_or(Self::UNIX_EPOCH)
    }
}

/// The values of a report. Reports with the same values share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Shape(u32);

/// Columns of the [`Reading`] and their values.
type Values = Arc<[(u16, Arc<str>)]>;

#[derive(Debug, Default)]
struct Shapes {
    values: Vec<Values>,
    known: HashMap<Values, u32>,
    texts: HashSet<Arc<str>>,
}

impl Shapes {
    /// `None` if `room` cannot hold the values.
    fn intern(&mut self, values: Vec<(u16, String)>, room: &mut Room) -> Option<Shape> {
        let new = values.iter().filter(|(_, text)| !self.texts.contains(text.as_str()));
        let bytes: u64 = new.map(|(_, text)| text.len() as u64 + VALUE).sum();
        // New texts make a new shape; whether known texts do is only known with it, so it counts always then.
        let shape = VALUE * (1 + values.len() as u64);
        if bytes > 0 && !room.grow(Held { bytes: bytes + shape, objects: 0 }) {
            return None;
        }
        let values: Values = values.into_iter().map(|(column, text)| (column, self.text(text))).collect();
        if let Some(known) = self.known.get(&values) {
            return Some(Shape(*known));
        }
        if bytes == 0 && !room.grow(Held { bytes: shape, objects: 0 }) {
            return None;
        }
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.known.insert(values.clone(), next);
        self.values.push(values);
        Some(Shape(next))
    }

    fn text(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.texts.get(text.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }
}

impl View {
    pub(super) fn new(reading: Arc<Reading>, member: Arc<Member>) -> Self {
        let room = member.room();
        Self { reading, member, room, facts_held: 0, shapes: Shapes::default(), sources: Vec::new() }
    }

    /// Reads new and changed objects. `sources` are the sources of the spec, in its order, with their indexes. `between`
    /// is called after each object.
    pub(super) fn update(
        &mut self,
        reading: &Arc<Reading>,
        sources: &[(String, Trust, Arc<Index>)],
        between: &mut dyn FnMut(),
    ) {
        if *self.reading != **reading {
            *self = Self::new(reading.clone(), self.member.clone());
        }
        self.read(sources, between);
        let unused = self.shapes.values.len().saturating_sub(self.used_shapes());
        if unused > UNUSED_SHAPES || (unused > 0 && self.left_out().next().is_some()) {
            *self = Self::new(reading.clone(), self.member.clone());
            self.read(sources, between);
        }
    }

    fn read(&mut self, sources: &[(String, Trust, Arc<Index>)], between: &mut dyn FnMut()) {
        let mut before = std::mem::take(&mut self.sources);
        let mut facts_needed = 0;
        for (name, trust, index) in sources {
            let known = before.iter_mut().find(|s| s.name == *name && s.trust == *trust);
            let known = known.map(|source| std::mem::take(&mut source.facts)).unwrap_or_default();
            let mut known = known.into_iter().peekable();
            facts_needed += index.entries().len() as u64;
            if !self.hold_facts(facts_needed) {
                facts_needed -= index.entries().len() as u64;
                let left_out = index.entries().len();
                self.sources.push(SourceView { name: name.clone(), trust: *trust, facts: Vec::new(), left_out });
                continue;
            }
            let mut facts = Vec::with_capacity(index.entries().len());
            let mut left_out = 0;
            for entry in index.entries() {
                while known.next_if(|(old, _)| old.key < entry.key).is_some() {}
                let fact = match known.next_if(|(old, _)| Arc::ptr_eq(old, entry)) {
                    Some((_, fact)) if !matches!(fact, Fact::LeftOut) => fact,
                    Some(_) | None => self.read_one(entry, *trust),
                };
                left_out += usize::from(matches!(fact, Fact::LeftOut));
                facts.push((entry.clone(), fact));
                between();
            }
            self.sources.push(SourceView { name: name.clone(), trust: *trust, facts, left_out });
        }
    }

    /// Takes room for `facts` in all.
    fn hold_facts(&mut self, facts: u64) -> bool {
        let more = facts.saturating_sub(self.facts_held);
        let fits = self.room.grow(Held { bytes: FACT * more, objects: 0 });
        if fits {
            self.facts_held += more;
        }
        fits
    }

    fn read_one(&mut self, entry: &Entry, trust: Trust) -> Fact {
        match self.evaluate(entry, trust) {
            Ok(Report { time, values, cut }) => match self.shapes.intern(values, &mut self.room) {
                Some(shape) => Fact::Report { time: time.into(), shape, cut },
                None => Fact::LeftOut,
            },
            Err(rejection) => Fact::Rejected(rejection.reason),
        }
    }

    fn evaluate(&self, entry: &Entry, trust: Trust) -> Result<Report, Rejection> {
        report::instance(&entry.key, trust).and_then(|instance| match &entry.content {
            Content::Body(body) => self.reading.read(instance, entry.stored(), body),
            Content::Beyond(_) => Err(Rejection::too_large(self.reading.object_size)),
            Content::Parameters => Err(Rejection::new(
                RejectionReason::ParametersDocument,
                "it holds parameters that muster wrote for workers; give the source a prefix with reports only",
            )),
            Content::NotAnObject => Err(Rejection::new(
                RejectionReason::NotJson,
                "it is not one JSON object: it does not start with a brace",
            )),
            Content::Never => Err(Rejection::new(
                RejectionReason::Unreadable,
                entry.fault.as_deref().unwrap_or("the object was not read yet"),
            )),
        })
    }

    /// Why an object is rejected. It is evaluated again, because messages are not kept: only few are shown.
    pub(super) fn explain(&self, entry: &Entry, trust: Trust, reason: RejectionReason) -> String {
        match (reason, &entry.fault) {
            (RejectionReason::Unreadable, Some(fault)) => fault.to_string(),
            _ => self.evaluate(entry, trust).err().map(|rejection| rejection.message).unwrap_or_default(),
        }
    }

    /// The sources with objects whose values could not be kept, and the number of these.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (&str, usize)> {
        self.sources.iter().filter(|source| source.left_out > 0).map(|source| (source.name.as_str(), source.left_out))
    }

    fn used_shapes(&self) -> usize {
        let mut used = vec![false; self.shapes.values.len()];
        for (.., fact) in self.facts() {
            if let Fact::Report { shape, .. } = fact {
                used[shape.0 as usize] = true;
            }
        }
        used.into_iter().filter(|used| *used).count()
    }

    /// All objects, each with the name of its source and its trust.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&str, Trust, &Entry, &Fact)> {
        self.sources.iter().flat_map(|source| {
            source.facts.iter().map(move |(entry, fact)| (source.name.as_str(), source.trust, &**entry, fact))
        })
    }

    /// Columns of the [`Reading`] and their values.
    pub(super) fn values(&self, shape: Shape) -> &[(u16, Arc<str>)] {
        &self.shapes.values[shape.0 as usize]
    }
}
