//! Shows the progress: a spinner on a terminal, plain lines elsewhere.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// Shows the steps of a command.
#[derive(Debug, Clone)]
pub struct Progress {
    terminal: bool,
}

/// The current step.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    terminal: bool,
    last: std::cell::RefCell<String>,
}

impl Progress {
    /// For the standard output of this process.
    pub fn new() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Runs one step under a title such as "Starting a Kubernetes API server". An error names the step.
    pub async fn step<T>(&self, title: &str, work: impl AsyncFnOnce(&Step) -> Result<T>) -> Result<T> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        if self.terminal {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg:.dim} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            print(format_args!("{title} ..."))?;
        }
        let step = Step { bar, terminal: self.terminal, last: std::cell::RefCell::default() };
        let started = Instant::now();
        let done = work(&step).await;
        let seconds = started.elapsed().as_secs_f32();
        step.bar.finish_and_clear();
        match done {
            Ok(done) if self.terminal => {
                print(format_args!("✓ {title} ({seconds:.1} s)"))?;
                Ok(done)
            }
            Ok(done) => {
                print(format_args!("  done in {seconds:.1} s"))?;
                Ok(done)
            }
            Err(error) => Err(error).with_context(|| format!("{title}: failed after {seconds:.1} s")),
        }
    }
}

/// The reader of the standard output is gone, as after `| head`.
#[derive(Debug)]
pub(crate) struct Unread(io::Error);

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write to the standard output")
    }
}

impl std::error::Error for Unread {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Prints a line. `println!` would panic if the reader is gone.
pub(crate) fn print(line: impl fmt::Display) -> Result<(), Unread> {
    writeln!(io::stdout().lock(), "{line}").map_err(Unread)
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Step {
    /// Shows the progress of the step. A repeated text is shown once.
    pub fn say(&self, text: impl Into<String>) {
        let text = text.into();
        if *self.last.borrow() == text {
            return;
        }
        if self.terminal {
            self.bar.set_message(text.clone());
        } else {
            // If the reader is gone, the end of the step fails too.
            let _ = print(format_args!("  {text}"));
        }
        self.last.replace(text);
    }
}
