//! Owns what the operator is told: the log of this process, by connector.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static LISTENING: Once = Once::new();

/// Begins to keep what is logged.
pub(crate) fn listen() {
    LISTENING.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(Log).init());
}

/// What was said about a connector.
pub(crate) fn about(connector: &str) -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let word = format!("connector={connector} ");
    String::from_utf8_lossy(&log).lines().filter(|line| line.contains(&word)).collect::<Vec<_>>().join("\n")
}

#[derive(Clone, Copy)]
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}
