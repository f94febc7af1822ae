//! Owns reading a connection string: `scheme://[login:password@]host[:port][,host[:port]…][/][?option=value&…]`.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::errors::InvalidConnectionString;
use super::options::Given;
use super::reach::{Credentials, NodeAddress, PORT_DEFAULT, RemoteSettings, TlsSettings};

/// A connection string has at most so many bytes.
const LENGTH_MAX: usize = 8 << 10;
/// A connection string names at most so many hosts.
const HOSTS_MAX: usize = 64;
/// What a connection string may begin with.
const SCHEMES: [&str; 4] = ["esdb", "kurrentdb", "kurrent", "kdb"];
/// What follows the scheme when members are to be asked for.
const DISCOVER: &str = "+discover";

impl FromStr for RemoteSettings {
    type Err = InvalidConnectionString;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > LENGTH_MAX {
            return Err(InvalidConnectionString::TooLong { length: text.len(), limit: LENGTH_MAX });
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidConnectionString::UnknownScheme)?;
        let discovers = discovers(scheme)?;
        let (before, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        // What is between them may be a password that is not escaped: it is not shown.
        if rest.contains('@') && !authority.contains('@') {
            return Err(InvalidConnectionString::Credentials);
        }
        if !path.is_empty() {
            return Err(InvalidConnectionString::Path { path: format!("/{path}") });
        }
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(read_credentials(credentials)?), hosts),
            None => (None, authority),
        };
        let hosts = read_hosts(hosts)?;
        let mut settings = Self::insecure("", PORT_DEFAULT);
        settings.hosts = hosts;
        settings.discovers = discovers;
        settings.credentials = credentials;
        settings.tls = Some(TlsSettings::default());
        read_options(options)?.apply(&mut settings)?;
        Ok(settings)
    }
}

fn discovers(scheme: &str) -> Result<bool, InvalidConnectionString> {
    let lower = scheme.to_ascii_lowercase();
    let (name, discovers) = lower.strip_suffix(DISCOVER).map_or((lower.as_str(), false), |name| (name, true));
    if SCHEMES.contains(&name) { Ok(discovers) } else { Err(InvalidConnectionString::UnknownScheme) }
}

fn read_credentials(text: &str) -> Result<Credentials, InvalidConnectionString> {
    let (login, password) = text.split_once(':').ok_or(InvalidConnectionString::Credentials)?;
    let login = decoded(login).filter(|login| !login.is_empty() && !login.contains(':'));
    let (login, password) = login.zip(decoded(password)).ok_or(InvalidConnectionString::Credentials)?;
    Ok(Credentials::new(&login, &password))
}

fn read_hosts(text: &str) -> Result<Vec<NodeAddress>, InvalidConnectionString> {
    if text.is_empty() {
        return Err(InvalidConnectionString::NoHost);
    }
    let count = text.split(',').count();
    if count > HOSTS_MAX {
        return Err(InvalidConnectionString::TooManyHosts { count, limit: HOSTS_MAX });
    }
    text.split(',').map(|host| read_host(host.trim())).collect()
}

fn read_host(text: &str) -> Result<NodeAddress, InvalidConnectionString> {
    let wrong = || InvalidConnectionString::Host { host: text.to_owned() };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(wrong)?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or_else(wrong)?) };
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (host, port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let is_name = !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            if !is_name {
                return Err(wrong());
            }
            (host, port)
        }
    };
    let port = port.map_or(Ok(PORT_DEFAULT), |port| port.parse().map_err(|_| wrong()))?;
    if port == 0 {
        return Err(wrong());
    }
    Ok(NodeAddress { host: host.to_owned(), port })
}

fn read_options(text: &str) -> Result<Given, InvalidConnectionString> {
    let mut given = Given::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        given.take(name, &decoded(value).unwrap_or_default())?;
    }
    Ok(given)
}

/// Text without its escapes; none when they stand for something that is not text.
fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KeepAlive, NodePreference};
    use std::time::Duration;

    fn read(text: &str) -> RemoteSettings {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<RemoteSettings>().unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let settings = read("esdb://node1");
        assert_eq!(settings.hosts, [NodeAddress { host: "node1".to_owned(), port: 2113 }]);
        assert!(!settings.asks_members() && settings.credentials.is_none());
        assert_eq!(settings.tls, Some(TlsSettings { verifies: true, ca_file: None, client: None }));
        assert_eq!(settings.node_preference, NodePreference::Leader);
        let ten = Duration::from_secs(10);
        assert_eq!((settings.deadline, settings.discover_attempts_max), (ten, 10));
        assert_eq!(settings.keep_alive, Some(KeepAlive { interval: ten, timeout: ten }));
    }

    #[test]
    fn every_scheme_and_several_hosts_are_read() {
        for scheme in ["esdb", "kurrentdb", "kurrent", "kdb", "ESDB"] {
            assert!(!read(&format!("{scheme}://a")).discovers);
            assert!(read(&format!("{scheme}+discover://a")).discovers);
        }
        let settings = read("esdb://a:1,[::1]:2,c/");
        assert_eq!(settings.to_string(), "esdb://a:1,[::1]:2,c:2113");
        assert!(settings.asks_members());
    }

    #[test]
    fn every_option_is_read_whatever_its_case() {
        let settings = read(
            "esdb+discover://adm%40in:p%3Ass@a?TLS=true&tlsverifycert=false&tlsCAFile=/ca.pem&userCertFile=c&userKeyFile=k\
             &connectionName=me&nodePreference=readOnlyReplica&maxDiscoverAttempts=3&discoveryInterval=500&gossipTimeout=3000\
             &keepAliveInterval=7000&keepAliveTimeout=8000&defaultDeadline=9000&throwOnAppendFailure=false",
        );
        let credentials = settings.credentials.unwrap();
        assert_eq!((credentials.login(), credentials.password()), ("adm@in", "p:ss"));
        let client = Some(("c".into(), "k".into()));
        assert_eq!(settings.tls, Some(TlsSettings { verifies: false, ca_file: Some("/ca.pem".into()), client }));
        assert_eq!(settings.connection_name.as_deref(), Some("me"));
        assert_eq!(settings.node_preference, NodePreference::ReadOnlyReplica);
        assert_eq!((settings.discover_attempts_max, settings.deadline), (3, Duration::from_secs(9)));
        assert_eq!(settings.discovery_interval, Duration::from_millis(500));
        assert_eq!(settings.gossip_timeout, Duration::from_secs(3));
        let (interval, timeout) = (Duration::from_secs(7), Duration::from_secs(8));
        assert_eq!(settings.keep_alive, Some(KeepAlive { interval, timeout }));
        assert_eq!(read("esdb://a?gossipTimeout=5").gossip_timeout, Duration::from_secs(5));
        assert_eq!(read("esdb://a?keepAliveInterval=-1").keep_alive, None);
        assert_eq!(read("esdb://a?tls=false&tlsVerifyCert=false").tls, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_expected() {
        assert!(refused("http://a").contains("does not begin with esdb://"));
        assert_eq!(refused("esdb://"), "the connection string names no host");
        assert!(refused("esdb://a:x").starts_with("\"a:x\" is not a host"));
        assert!(refused("esdb://a/b").contains("\"/b\""));
        assert_eq!(
            refused("esdb://a?tlsVerfyCert=true"),
            "option \"tlsVerfyCert\" is not known: expected tlsVerifyCert"
        );
        assert!(refused("esdb://a?zzz=1").contains("expected one of tls, tlsVerifyCert"));
        assert_eq!(
            refused("esdb://a?nodePreference=master"),
            "option nodePreference is \"master\": expected leader, follower, readOnlyReplica or random"
        );
        assert!(refused("esdb://a?tls=true&TLS=true").contains("more than once"));
        assert!(refused("esdb://a?userCertFile=c").contains("go together"));
        assert!(refused("esdb://a?tls=false&tlsCaFile=c").contains("tls=false"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let settings = read("esdb://admin:hunter2@a?tls=false");
        assert!(!format!("{settings:?} {settings}").contains("hunter2"));
        let wrong = ["hunter2@:x", "hunter2%ff@a", "hunter2@a?x=1", "hunter2?@a", "hunter2/@a", "hunter2#@a?x=1"];
        for wrong in wrong.map(|wrong| refused(&format!("esdb://admin:{wrong}"))) {
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }
}
