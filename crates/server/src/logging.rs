//! Owns how logs are written: to standard error, as text or JSON, payloads and secrets never among them.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// The storage engine tells of its own doings at this level, unless the config names it.
const ENGINE: &str = "fjall=warn,lsm_tree=warn";

/// Starts writing logs as the config says; changes nothing when somebody has done so already.
pub(crate) fn init(config: &Config) {
    let level = format!("{ENGINE},{}", config.log_level);
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new(format!("{ENGINE},info")));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs are written by somebody else already");
    }
}
