//! Files that reach each other by their imports: none of them can be understood, moved or tested without the others.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{
    algo::{greedy_feedback_arc_set, tarjan_scc},
    graph::DiGraph,
    visit::EdgeRef as _,
};

/// From one file to another.
pub type Arrow = (String, String);

#[derive(Debug, PartialEq, Eq)]
pub struct Circle {
    pub files: BTreeSet<String>,
    /// Those between its files.
    pub arrows: Vec<Arrow>,
    /// Few arrows, without which there would be no circle.
    pub ties: Vec<Arrow>,
}

impl Circle {
    /// The largest first.
    #[must_use]
    pub fn all<T>(arrows: &BTreeMap<Arrow, T>) -> Vec<Self> {
        let graph = graph(arrows.keys());
        let mut circles: Vec<_> = tarjan_scc(&graph)
            .into_iter()
            .filter(|files| files.len() > 1)
            .map(|files| Self::new(files.into_iter().map(|file| graph[file].to_owned()).collect(), arrows.keys()))
            .collect();
        circles.sort_by(|a, b| b.files.len().cmp(&a.files.len()).then_with(|| a.files.cmp(&b.files)));
        circles
    }

    fn new<'a>(files: BTreeSet<String>, arrows: impl Iterator<Item = &'a Arrow>) -> Self {
        let arrows: Vec<_> = arrows.filter(|(from, to)| files.contains(from) && files.contains(to)).cloned().collect();
        let graph = graph(&arrows);
        let mut ties: Vec<_> = greedy_feedback_arc_set(&graph)
            .map(|arrow| (graph[arrow.source()].to_owned(), graph[arrow.target()].to_owned()))
            .collect();
        ties.sort();
        Self { files, arrows, ties }
    }
}

fn graph<'a>(arrows: impl IntoIterator<Item = &'a Arrow>) -> DiGraph<&'a str, ()> {
    let mut graph = DiGraph::new();
    let mut nodes = BTreeMap::new();
    for (from, to) in arrows {
        let [from, to] = [from, to].map(|file| *nodes.entry(file).or_insert_with(|| graph.add_node(file.as_str())));
        graph.add_edge(from, to, ());
    }
    graph
}
