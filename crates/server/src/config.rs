//! Owns the server's config: what an operator decides, checked once.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::ClusterChoice;
use forebay_access::Password;
use forebay_remote::RemoteSettings;

/// The port of the protocol.
const PORT_DEFAULT: u16 = 2113;
/// How long a lease lasts without renewal.
const LEASE_DEFAULT: Duration = Duration::from_secs(10);
/// How long stopping may take.
const SHUTDOWN_LIMIT_DEFAULT: Duration = Duration::from_secs(30);
/// Open connections.
const CONNECTIONS_DEFAULT: usize = 4096;
/// Connectors on this node.
const CONNECTORS_DEFAULT: usize = 1000;
/// Events of one append together, in bytes.
const APPEND_SIZE_DEFAULT: usize = 16 << 20;

/// Where the connectors' streams live in the embedded log.
const PREFIX_EMBEDDED: &str = "$connectors";
/// Where they live in a cluster: a server may run connectors of its own under the other name.
const PREFIX_REMOTE: &str = "$forebay/connectors";

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve.
    pub listen: SocketAddr,
    /// Whether what protects the server from other machines may be missing.
    pub insecure: bool,
    /// Whether callers are asked who they are; when not said, it follows from what else is said.
    pub auth: Option<bool>,
    /// Whether `$all` in an access list covers callers without credentials.
    pub anonymous_streams: bool,
    /// Names by which a server on a loopback address is managed besides its own, such as that of a proxy before it.
    pub trusted_hosts: Vec<String>,
    /// The password of the user `admin`, until it has one.
    pub admin_password: FirstPassword,
    /// The password of the user `ops`, until it has one.
    pub ops_password: FirstPassword,
    /// Where the log and the server's own files lie.
    pub data: PathBuf,
    /// The cluster that holds the events; the embedded log when there is none.
    pub store: Option<RemoteSettings>,
    /// Connector files, or directories of them, applied at start.
    pub connectors: Vec<PathBuf>,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged, in the words of `tracing`.
    pub log_level: String,
    /// The node's name.
    pub node: String,
    /// Where the connectors' streams live; where they live by default depends on the store.
    pub stream_prefix: Option<String>,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How long stopping may take: connectors first, then open requests.
    pub shutdown_limit: Duration,
    /// Open connections at the same time.
    pub connections_max: usize,
    /// Connectors on this node.
    pub connectors_max: usize,
    /// Events of one append together, in bytes.
    pub append_size_max: usize,
    /// The key that secrets in settings are sealed with.
    pub secret_key: SecretKey,
    /// The certificates to serve with; clear text without.
    pub tls: Option<TlsFiles>,
    /// How the node stands to others over the same store.
    pub cluster: ClusterChoice,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            insecure: false,
            auth: None,
            anonymous_streams: false,
            trusted_hosts: Vec::new(),
            admin_password: FirstPassword::Generated,
            ops_password: FirstPassword::Generated,
            data: PathBuf::from("./forebay-data"),
            store: None,
            connectors: Vec::new(),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            node: "forebay".to_owned(),
            stream_prefix: None,
            lease: LEASE_DEFAULT,
            shutdown_limit: SHUTDOWN_LIMIT_DEFAULT,
            connections_max: CONNECTIONS_DEFAULT,
            connectors_max: CONNECTORS_DEFAULT,
            append_size_max: APPEND_SIZE_DEFAULT,
            secret_key: SecretKey::InDataDirectory,
            tls: None,
            cluster: ClusterChoice::default(),
        }
    }
}

/// Where the password of one of the first users comes from, as long as it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPassword {
    /// It is generated when it is needed, and told once.
    Generated,
    /// It is the first line of a file.
    File(PathBuf),
    /// Given as it is.
    Given(Password),
}

/// Where the certificates lie that the server is known by, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and after it those that sign it.
    pub certificate: PathBuf,
    /// Its private key, without a password.
    pub key: PathBuf,
    /// Those who sign clients' certificates: a client may then show one, and one that it shows must be signed so.
    pub ca: Option<PathBuf>,
}

impl Config {
    /// Where the connectors' streams live.
    pub fn stream_prefix(&self) -> &str {
        let by_default = if self.store.is_some() { PREFIX_REMOTE } else { PREFIX_EMBEDDED };
        self.stream_prefix.as_deref().unwrap_or(by_default)
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the key comes from that secrets in settings are sealed with.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretKey {
    /// From the file `secret.key` in the data directory, made at the first start.
    InDataDirectory,
    /// From a file of the operator.
    File(PathBuf),
    /// Given as it is.
    Key([u8; 32]),
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InDataDirectory => f.write_str("InDataDirectory"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Key(_) => f.write_str("Key(***)"),
        }
    }
}

/// One thing wrong with the config, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {found} ({origin}): expected {expected}")]
pub struct WrongKey {
    /// The key.
    pub key: String,
    /// What was found; secrets are not shown.
    pub found: String,
    /// The file, environment variable or flag that said so.
    pub origin: String,
    /// What is expected; for an unknown key the nearest that is known.
    pub expected: String,
}

/// All that is wrong with the config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read.
    #[error("the config file {} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("the config file {} is not valid TOML: {}", .path.display(), .reason.replace('\n', " "))]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Keys are wrong.
    #[error("the config is wrong: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<WrongKey>),
}
