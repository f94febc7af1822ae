//! Measures the log against the raw ceiling in the same run, and prints a table with the ratios.
//!
//! `cargo bench -p forebay-log --bench log` runs it whole; `-- --quick` runs it on a tenth of the events,
//! `-- --appends` and `-- --reads` run a half of it. Every row has
//! its own ceiling: a plain loop that writes and syncs the same bytes, or one that only checks and unpacks the same
//! blocks. The table goes to standard output.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that does not work is to stop")]

mod append;
mod read;
mod events;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_event::SystemClock;
use forebay_log::{EmbeddedLog, LogLimits, LogOptions, RecoveryReport};

/// One line of the table.
struct Row {
    what: String,
    /// What the log does, and what the ceiling does, in the same unit.
    measured: (f64, Option<f64>),
    unit: &'static str,
    aim: Option<f64>,
}

/// How much to do.
#[derive(Clone, Copy)]
struct Scale {
    /// Events of the log that is scanned and reopened.
    events: usize,
    /// How long each append row is measured.
    append_time: Duration,
    /// How often a row is repeated; the best counts, for the log and for its ceiling.
    rounds: usize,
}

const FULL: Scale = Scale { events: 1_000_000, append_time: Duration::from_millis(1500), rounds: 3 };
const QUICK: Scale = Scale { events: 100_000, append_time: Duration::from_millis(300), rounds: 2 };

fn open(directory: &Path) -> (EmbeddedLog, RecoveryReport) {
    let limits = LogLimits { append_size_max: 16 << 20, ..LogLimits::default() };
    let options = LogOptions { limits, ..LogOptions::new(directory, Arc::new(SystemClock::new())) };
    EmbeddedLog::open(options).unwrap()
}

/// A directory on the disk that the build is on; memory file systems sync too well.
fn scratch(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let directory = program.parent().unwrap().join(format!("log-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print(rows: &[Row]) {
    println!("{:<34} {:>14} {:>14} {:>7} {:>7}  unit", "what", "log", "ceiling", "ratio", "aim");
    for Row { what, measured: (log, ceiling), unit, aim } in rows {
        let ratio = ceiling.map_or(String::new(), |ceiling| format!("{:.2}", log / ceiling));
        let ceiling = ceiling.map_or(String::new(), |ceiling| format!("{ceiling:.0}"));
        let aim = aim.map_or(String::new(), |aim| format!("{aim}"));
        println!("{what:<34} {log:>14.0} {ceiling:>14} {ratio:>7} {aim:>7}  {unit}");
    }
}

fn main() {
    if read::is_child() {
        return read::load_and_wait();
    }
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let scale = if asked("--quick") { QUICK } else { FULL };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut rows = Vec::new();
    if !asked("--reads") {
        rows.extend(append::rows(&runtime, scale));
    }
    if !asked("--appends") {
        rows.extend(read::rows(&runtime, scale));
    }
    print(&rows);
}
