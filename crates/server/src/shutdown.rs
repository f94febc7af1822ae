//! Owns signals: the first asks to stop, the second ends the process at once; a third kind asks to read certificates anew.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal.
const EXIT_AT_ONCE: i32 = 1;

/// Both signals that ask a server to stop.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next one.
    pub(crate) async fn exit_at_next(mut self) {
        let signal = self.next().await;
        tracing::warn!(signal, "exiting at once");
        std::process::exit(EXIT_AT_ONCE);
    }
}

/// The signal that asks to read certificates again (SIGHUP).
pub(crate) struct ReloadSignal {
    hang_up: Signal,
}

impl ReloadSignal {
    /// Listens from now on: the process no longer ends by it.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { hang_up: signal(SignalKind::hangup())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        // Without a reactor there are no more signals, and nothing to wait for.
        if self.hang_up.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
