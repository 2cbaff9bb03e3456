//! What the command line shows of a cluster, or of the API: for people, and for programs that decide by it.

pub mod report;
pub mod status;

use std::path::Path;

use comfy_table::{Table, presets};
use kube::{Client, Config, config::KubeConfigOptions};

use crate::text::visible;

type Error = Box<dyn std::error::Error>;

/// The length of a text in a table.
const CELL: usize = 120;

/// The cluster of the kubeconfig, and the namespace to look in.
async fn cluster(context: Option<&str>, namespace: Option<String>) -> Result<(Client, String), Error> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = match context {
        Some(_) => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config)?, namespace))
}

/// A table as kubectl prints it. Texts of workers are made visible.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell, CELL)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A secret that a file or the environment holds.
fn secret(file: Option<&Path>, variable: Option<&String>) -> Result<Option<String>, Error> {
    let text = match file {
        Some(file) => {
            Some(std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?)
        }
        None => variable.cloned(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}
