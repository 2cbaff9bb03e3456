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
        report::{self, Rejection, Report},
    },
};

/// With more unused shapes than this, all objects are read again, so that ever new values do not fill the memory.
const UNUSED_SHAPES: usize = 1024;

/// The facts of all objects, sorted by source and key.
#[derive(Debug)]
pub(super) struct View {
    reading: Arc<Reading>,
    shapes: Shapes,
    sources: Vec<SourceView>,
}

#[derive(Debug)]
struct SourceView {
    name: String,
    trust: Trust,
    facts: Vec<(Arc<Entry>, Fact)>,
}

/// The result of reading one object.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Report { time: Moment, shape: Shape },
    Rejected(Box<Rejection>),
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
    fn intern(&mut self, values: Vec<(u16, String)>) -> Shape {
        let values: Values = values.into_iter().map(|(column, text)| (column, self.text(text))).collect();
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let shape = *self.known.entry(values.clone()).or_insert(next);
        if shape == next {
            self.values.push(values);
        }
        Shape(shape)
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
    pub(super) fn new(reading: Arc<Reading>) -> Self {
        Self { reading, shapes: Shapes::default(), sources: Vec::new() }
    }

    /// Reads new and changed objects. `sources` are the sources of the spec, in its order, with their indexes.
    pub(super) fn update(&mut self, reading: &Arc<Reading>, sources: &[(String, Trust, Arc<Index>)]) {
        if *self.reading != **reading {
            *self = Self::new(reading.clone());
        }
        self.read(sources);
        let unused = self.shapes.values.len().saturating_sub(self.used_shapes());
        if unused > UNUSED_SHAPES {
            *self = Self::new(reading.clone());
            self.read(sources);
        }
    }

    fn read(&mut self, sources: &[(String, Trust, Arc<Index>)]) {
        let mut before = std::mem::take(&mut self.sources);
        for (name, trust, index) in sources {
            let known = before.iter_mut().find(|s| s.name == *name && s.trust == *trust);
            let known = known.map(|source| std::mem::take(&mut source.facts)).unwrap_or_default();
            let mut known = known.into_iter().peekable();
            let mut facts = Vec::with_capacity(index.entries().len());
            for entry in index.entries() {
                while known.next_if(|(old, _)| old.key < entry.key).is_some() {}
                let fact = match known.next_if(|(old, _)| Arc::ptr_eq(old, entry)) {
                    Some((_, fact)) => fact,
                    None => self.read_one(entry, *trust),
                };
                facts.push((entry.clone(), fact));
            }
            self.sources.push(SourceView { name: name.clone(), trust: *trust, facts });
        }
    }

    fn read_one(&mut self, entry: &Entry, trust: Trust) -> Fact {
        let report = report::instance(&entry.key, trust).and_then(|instance| match &entry.content {
            Content::Body(body) => self.reading.read(instance, entry.stored(), body),
            Content::Beyond(_) => Err(Rejection::too_large(self.reading.object_size)),
            Content::Parameters => Err(Rejection::new(
                RejectionReason::ParametersDocument,
                "it holds parameters that muster wrote for workers; give the source a prefix with reports only",
            )),
            Content::Never => Err(Rejection::new(
                RejectionReason::Unreadable,
                entry.fault.as_deref().unwrap_or("the object was not read yet"),
            )),
        });
        match report {
            Ok(Report { time, values }) => Fact::Report { time: time.into(), shape: self.shapes.intern(values) },
            Err(rejection) => Fact::Rejected(Box::new(rejection)),
        }
    }

    fn used_shapes(&self) -> usize {
        let mut used = vec![false; self.shapes.values.len()];
        for (_, _, fact) in self.facts() {
            if let Fact::Report { shape, .. } = fact {
                used[shape.0 as usize] = true;
            }
        }
        used.into_iter().filter(|used| *used).count()
    }

    /// All objects, each with the name of its source.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&str, &Entry, &Fact)> {
        self.sources
            .iter()
            .flat_map(|source| source.facts.iter().map(move |(entry, fact)| (source.name.as_str(), &**entry, fact)))
    }

    /// Columns of the [`Reading`] and their values.
    pub(super) fn values(&self, shape: Shape) -> &[(u16, Arc<str>)] {
        &self.shapes.values[shape.0 as usize]
    }
}
