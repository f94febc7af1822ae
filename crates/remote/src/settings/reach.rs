//! Owns what is known of a cluster before it is reached: hosts, credentials, trust, preference, times.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The port of the protocol.
pub(super) const PORT_DEFAULT: u16 = 2113;
const DISCOVER_ATTEMPTS_DEFAULT: u32 = 10;
const DISCOVERY_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
const GOSSIP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(10);
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// How to reach a cluster. Made from a connection string; shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The node, or the nodes to ask who leads; at least one.
    pub hosts: Vec<NodeAddress>,
    /// Whether the nodes are asked for the cluster's members; always so with several hosts.
    pub discovers: bool,
    /// Who we are; nobody in particular when absent.
    pub credentials: Option<Credentials>,
    /// What secure connections trust and show; clear text when absent.
    pub tls: Option<TlsSettings>,
    /// What this client is called in the server's own statistics.
    pub connection_name: Option<String>,
    /// Which node subscriptions read from. Everything else goes to the leader.
    pub node_preference: NodePreference,
    /// How often all hosts are asked before one round of discovery has failed; at least 1.
    pub discover_attempts_max: u32,
    /// The pause between two such attempts.
    pub discovery_interval: Duration,
    /// How long a node may take to tell the members.
    pub gossip_timeout: Duration,
    /// How a silent connection is asked whether it is still there; not at all when absent.
    pub keep_alive: Option<KeepAlive>,
    /// How long a call may take, and how long the next message of a read may take.
    pub deadline: Duration,
}

impl RemoteSettings {
    /// Clear text to one node, everything else by default.
    pub fn insecure(host: &str, port: u16) -> Self {
        Self {
            hosts: vec![NodeAddress { host: host.to_owned(), port }],
            discovers: false,
            credentials: None,
            tls: None,
            connection_name: None,
            node_preference: NodePreference::Leader,
            discover_attempts_max: DISCOVER_ATTEMPTS_DEFAULT,
            discovery_interval: DISCOVERY_INTERVAL_DEFAULT,
            gossip_timeout: GOSSIP_TIMEOUT_DEFAULT,
            keep_alive: Some(KeepAlive { interval: KEEP_ALIVE_DEFAULT, timeout: KEEP_ALIVE_DEFAULT }),
            deadline: DEADLINE_DEFAULT,
        }
    }

    /// Whether members are asked for before a node is chosen.
    pub fn asks_members(&self) -> bool {
        self.discovers || self.hosts.len() > 1
    }
}

/// Writes the cluster's address as a connection string without credentials and options.
impl fmt::Display for RemoteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        let scheme = if self.discovers { "esdb+discover" } else { "esdb" };
        let ending = if self.tls.is_some() { "" } else { "?tls=false" };
        write!(f, "{scheme}://{}{ending}", hosts.join(","))
    }
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A login and its password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    login: String,
    password: String,
}

impl Credentials {
    /// Takes both as they are.
    pub fn new(login: &str, password: &str) -> Self {
        Self { login: login.to_owned(), password: password.to_owned() }
    }

    /// The login.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The password, for the one place that sends it.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).field("password", &"***").finish()
    }
}

/// What secure connections trust and show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether the server's certificate is checked.
    pub verifies: bool,
    /// A PEM file of authorities that are trusted instead of those of the machine.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the chain and the key that this client shows.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { verifies: true, ca_file: None, client: None }
    }
}

/// Which node of a cluster is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodePreference {
    /// The one that takes writes.
    #[default]
    Leader,
    /// One that follows the leader.
    Follower,
    /// One that only replicates.
    ReadOnlyReplica,
    /// Any.
    Random,
}

/// How a silent connection is asked whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// After so long a silence.
    pub interval: Duration,
    /// It has so long to answer.
    pub timeout: Duration,
}
