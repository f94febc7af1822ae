//! Owns the flags of `forebay serve`.

use std::path::PathBuf;

use clap::Parser;

/// Runs the server: an event store with connectors built in.
///
/// Config comes from the file, then from environment variables (`FOREBAY_LISTEN` for `listen`, `FOREBAY_LOG_FORMAT` for
/// `log.format`), then from these flags; the last one that says something wins. Exit codes: 0 stopped when asked,
/// 1 failed, 2 wrong flags, config or connector file.
#[derive(Clone, Debug, Default, Parser)]
pub struct ServeOptions {
    /// Config file in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; made when it is not there [default: ./forebay-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The cluster that holds the events, such as esdb://node1:2113,node2:2113 [default: the embedded log].
    #[arg(long, value_name = "CONNECTION")]
    pub store: Option<String>,
    /// Address to serve on [default: 127.0.0.1:2113].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Connector file (YAML, TOML or JSON), or a directory of them, to apply at start; may be repeated.
    #[arg(long, value_name = "FILE|DIR")]
    pub connectors: Vec<PathBuf>,
    /// How logs are written: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,forebay_runtime=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Whether callers are asked who they are: on or off [default: off in clear text on a loopback address, else on].
    #[arg(long, value_name = "ON|OFF")]
    pub auth: Option<String>,
    /// PEM file with the server's certificate, and after it those that sign it; serves TLS instead of clear text.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate, without a password.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serves addresses that other machines can reach without TLS, and without asking who they are unless --auth is on.
    #[arg(long)]
    pub insecure: bool,
}
