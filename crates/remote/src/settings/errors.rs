//! Owns what can be wrong with a connection string; none of it shows a password.

/// A connection string cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnectionString {
    /// It is longer than any that makes sense.
    #[error("the connection string has {length} bytes: expected at most {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// It begins with another scheme, or with none.
    #[error(
        "the connection string does not begin with esdb://, esdb+discover://, kurrentdb:// or kurrentdb+discover://"
    )]
    UnknownScheme,
    /// The credentials are not a login, a colon and a password.
    #[error("the credentials are not readable: expected login:password@, with special characters escaped as %40 for @")]
    Credentials,
    /// No host is named.
    #[error("the connection string names no host")]
    NoHost,
    /// More hosts than a cluster has.
    #[error("the connection string names {count} hosts: expected at most {limit}")]
    TooManyHosts {
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A host is not a name or an address with a port.
    #[error("{host:?} is not a host: expected a name or an address, and a port such as node1:2113")]
    Host {
        /// What was found.
        host: String,
    },
    /// Something stands between the hosts and the options.
    #[error("{path:?} stands behind the hosts: expected nothing, or options behind a ?")]
    Path {
        /// What was found.
        path: String,
    },
    /// An option is not known.
    #[error("option {name:?} is not known: expected {expected}")]
    UnknownOption {
        /// The option.
        name: String,
        /// The nearest that is known, or all of them.
        expected: String,
    },
    /// An option is given more than once.
    #[error("option {name} is given more than once")]
    RepeatedOption {
        /// The option.
        name: &'static str,
    },
    /// An option has a value that it cannot have.
    #[error("option {name} is {found:?}: expected {expected}")]
    Option {
        /// The option.
        name: &'static str,
        /// What was found.
        found: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("userCertFile and userKeyFile go together: expected both or none")]
    HalfACertificate,
    /// A file for secure connections without secure connections.
    #[error("option {name} is given with tls=false: expected it with secure connections only")]
    WithoutTls {
        /// The option.
        name: &'static str,
    },
}
