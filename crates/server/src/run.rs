//! Owns the life of `forebay serve`: config, logs, start, wait for a signal, stop; and its exit codes.

use std::io::Write;
use std::process::ExitCode;

use crate::config::Config;
use crate::layers::load;
use crate::logging;
use crate::options::ServeOptions;
use crate::shutdown::{ReloadSignal, StopSignals};
use crate::wiring::{StartError, start};

/// Failed: to start, or while running.
const EXIT_FAILED: u8 = 1;
/// Wrong flags, config or connector file.
const EXIT_CONFIG: u8 = 2;

/// Runs a server until it is asked to stop. Answers 0 when stopped, 1 when it failed, 2 when config is wrong.
pub fn run(options: &ServeOptions) -> ExitCode {
    let config = match load(options, variables()) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error.to_string()),
    };
    logging::init(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILED, &format!("cannot start threads: {error}")),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (StartError::Declared(_) | StartError::Certificates(_))) => fail(EXIT_CONFIG, &error.to_string()),
        Err(error) => fail(EXIT_FAILED, &error.to_string()),
    }
}

async fn serve(config: Config) -> Result<(), StartError> {
    let address = config.listen;
    let unheard = |error: std::io::Error| StartError::Listen { address, reason: error.to_string() };
    let mut signals = StopSignals::listen().map_err(unheard)?;
    let mut reload = ReloadSignal::listen().map_err(unheard)?;
    let server = tokio::select! {
        started = start(config) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    let asked_by = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            () = server.stop_asked() => break "a client",
            () = reload.next() => server.reload_certificates().await,
        }
    };
    tracing::info!(asked_by, "stopping; a second signal exits at once");
    let impatient = tokio::spawn(signals.exit_at_next());
    server.shutdown().await;
    impatient.abort();
    Ok(())
}

/// The environment; what is not text cannot be a value of ours.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Nothing can be done when standard error is closed as well.
    drop(writeln!(std::io::stderr().lock(), "forebay: {message}"));
    ExitCode::from(code)
}
