//! Owns the options of a connection string: their names, what they take, and what they set.

use std::path::PathBuf;
use std::time::Duration;

use super::errors::InvalidConnectionString;
use super::reach::{KeepAlive, NodePreference, RemoteSettings, TlsSettings};

/// A name nearer than this is suggested.
const NEARNESS_MIN: f64 = 0.7;
/// What turns keeping alive off.
const OFF: &str = "-1";
/// A time longer than this is refused.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Clients differ in the unit of the gossip timeout: below this number it is seconds, from it on milliseconds.
const GOSSIP_TIMEOUT_MS_MIN: u64 = 100;
/// More attempts than this say nothing new.
const DISCOVER_ATTEMPTS_MAX: u32 = 10_000;

const MILLISECONDS: &str = "a whole number of milliseconds from 1 to 86400000";
const KEEP_ALIVE: &str = "a whole number of milliseconds from 1 to 86400000, or -1 for none";
const YES_OR_NO: &str = "true or false";

/// What options say, as they are read one by one.
#[derive(Default)]
pub(super) struct Given {
    seen: Vec<&'static str>,
    tls: Option<bool>,
    verifies: Option<bool>,
    ca_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    connection_name: Option<String>,
    preference: Option<NodePreference>,
    discover_attempts: Option<u32>,
    discovery_interval: Option<Duration>,
    gossip_timeout: Option<Duration>,
    keep_alive_interval: Option<Option<Duration>>,
    keep_alive_timeout: Option<Option<Duration>>,
    deadline: Option<Duration>,
    /// A wrong expected revision is an answer of its own here, so there is nothing to choose.
    throws: Option<bool>,
}

/// One option.
struct Known {
    name: &'static str,
    expected: &'static str,
    set: fn(&mut Given, &str) -> Option<()>,
}

const KNOWN: &[Known] = &[
    Known { name: "tls", expected: YES_OR_NO, set: |given, text| put(&mut given.tls, yes_or_no(text)) },
    Known { name: "tlsVerifyCert", expected: YES_OR_NO, set: |given, text| put(&mut given.verifies, yes_or_no(text)) },
    Known { name: "tlsCaFile", expected: "a file", set: |given, text| put(&mut given.ca_file, file(text)) },
    Known { name: "userCertFile", expected: "a file", set: |given, text| put(&mut given.certificate, file(text)) },
    Known { name: "userKeyFile", expected: "a file", set: |given, text| put(&mut given.key, file(text)) },
    Known {
        name: "connectionName",
        expected: "visible ASCII characters",
        set: |given, text| put(&mut given.connection_name, visible(text)),
    },
    Known {
        name: "nodePreference",
        expected: "leader, follower, readOnlyReplica or random",
        set: |given, text| put(&mut given.preference, preference(text)),
    },
    Known {
        name: "maxDiscoverAttempts",
        expected: "a whole number from 1 to 10000",
        set: |given, text| put(&mut given.discover_attempts, attempts(text)),
    },
    Known {
        name: "discoveryInterval",
        expected: MILLISECONDS,
        set: |given, text| put(&mut given.discovery_interval, milliseconds(text)),
    },
    Known {
        name: "gossipTimeout",
        expected: "a whole number of seconds below 100, or of milliseconds from 100 on",
        set: |given, text| put(&mut given.gossip_timeout, gossip_timeout(text)),
    },
    Known {
        name: "keepAliveInterval",
        expected: KEEP_ALIVE,
        set: |given, text| put(&mut given.keep_alive_interval, keep_alive(text)),
    },
    Known {
        name: "keepAliveTimeout",
        expected: KEEP_ALIVE,
        set: |given, text| put(&mut given.keep_alive_timeout, keep_alive(text)),
    },
    Known {
        name: "defaultDeadline",
        expected: MILLISECONDS,
        set: |given, text| put(&mut given.deadline, milliseconds(text)),
    },
    Known {
        name: "throwOnAppendFailure",
        expected: YES_OR_NO,
        set: |given, text| put(&mut given.throws, yes_or_no(text)),
    },
];

impl Given {
    /// Takes one option.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Result<(), InvalidConnectionString> {
        let known = KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name)).ok_or_else(|| unknown(name))?;
        if self.seen.contains(&known.name) {
            return Err(InvalidConnectionString::RepeatedOption { name: known.name });
        }
        self.seen.push(known.name);
        (known.set)(self, text).ok_or_else(|| {
            let (name, expected) = (known.name, known.expected);
            InvalidConnectionString::Option { name, found: text.to_owned(), expected }
        })
    }

    /// Sets what was given on what is there by default.
    pub(super) fn apply(self, settings: &mut RemoteSettings) -> Result<(), InvalidConnectionString> {
        settings.tls = self.tls()?;
        settings.connection_name = self.connection_name;
        set(&mut settings.node_preference, self.preference);
        set(&mut settings.discover_attempts_max, self.discover_attempts);
        set(&mut settings.discovery_interval, self.discovery_interval);
        set(&mut settings.gossip_timeout, self.gossip_timeout);
        set(&mut settings.deadline, self.deadline);
        let (interval, timeout) =
            settings.keep_alive.map_or((None, None), |keep| (Some(keep.interval), Some(keep.timeout)));
        let interval = self.keep_alive_interval.unwrap_or(interval);
        let timeout = self.keep_alive_timeout.unwrap_or(timeout);
        settings.keep_alive = interval.zip(timeout).map(|(interval, timeout)| KeepAlive { interval, timeout });
        Ok(())
    }

    fn tls(&self) -> Result<Option<TlsSettings>, InvalidConnectionString> {
        let client = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(InvalidConnectionString::HalfACertificate),
        };
        if self.tls != Some(false) {
            let verifies = self.verifies.unwrap_or(true);
            return Ok(Some(TlsSettings { verifies, ca_file: self.ca_file.clone(), client }));
        }
        match (&self.ca_file, client) {
            (Some(_), _) => Err(InvalidConnectionString::WithoutTls { name: "tlsCaFile" }),
            (None, Some(_)) => Err(InvalidConnectionString::WithoutTls { name: "userCertFile" }),
            // Without a certificate there is none to verify; examples for development give both.
            (None, None) => Ok(None),
        }
    }
}

fn unknown(name: &str) -> InvalidConnectionString {
    let lower = name.to_ascii_lowercase();
    let near = KNOWN
        .iter()
        .map(|known| (strsim::jaro_winkler(&known.name.to_ascii_lowercase(), &lower), known.name))
        .filter(|(nearness, _)| *nearness >= NEARNESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let all = || format!("one of {}", KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", "));
    let expected = near.map_or_else(all, |(_, nearest)| nearest.to_owned());
    InvalidConnectionString::UnknownOption { name: name.to_owned(), expected }
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    *place = Some(value?);
    Some(())
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn yes_or_no(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn visible(text: &str) -> Option<String> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_visible.then(|| text.to_owned())
}

fn preference(text: &str) -> Option<NodePreference> {
    match text.to_ascii_lowercase().as_str() {
        "leader" => Some(NodePreference::Leader),
        "follower" => Some(NodePreference::Follower),
        "readonlyreplica" => Some(NodePreference::ReadOnlyReplica),
        "random" => Some(NodePreference::Random),
        _ => None,
    }
}

fn attempts(text: &str) -> Option<u32> {
    text.parse().ok().filter(|attempts| (1..=DISCOVER_ATTEMPTS_MAX).contains(attempts))
}

fn milliseconds(text: &str) -> Option<Duration> {
    within_bounds(Duration::from_millis(text.parse().ok()?))
}

fn gossip_timeout(text: &str) -> Option<Duration> {
    let number: u64 = text.parse().ok()?;
    let is_seconds = number < GOSSIP_TIMEOUT_MS_MIN;
    within_bounds(if is_seconds { Duration::from_secs(number) } else { Duration::from_millis(number) })
}

fn keep_alive(text: &str) -> Option<Option<Duration>> {
    if text == OFF { Some(None) } else { milliseconds(text).map(Some) }
}

fn within_bounds(time: Duration) -> Option<Duration> {
    (!time.is_zero() && time <= TIME_MAX).then_some(time)
}
