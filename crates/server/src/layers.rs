//! Owns the layers of the config: file, environment, flags; every key with its origin.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_access::Password;
use forebay_remote::RemoteSettings;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use crate::cluster::labels;
use crate::config::{Config, ConfigErrors, FirstPassword, LogFormat, SecretKey, TlsFiles, WrongKey};
use crate::options::ServeOptions;
use crate::posture::{self, Exposed};

/// What environment variables of ours begin with.
const PREFIX: &str = "FOREBAY_";
/// Variables with that prefix that belong to the command line.
const FOREIGN: [&str; 6] =
    ["FOREBAY_SERVER", "FOREBAY_LOG", "FOREBAY_CA_FILE", "FOREBAY_USER", "FOREBAY_PASSWORD", "FOREBAY_PASSWORD_FILE"];
/// Keys whose values are not shown when they are wrong.
const SECRETS: [&str; 4] = [STORE, "secret_key", "admin_password", "ops_password"];
/// A name nearer than this is suggested.
const NEARNESS_MIN: f64 = 0.6;
/// Leases shorter or longer than this are refused.
const LEASE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Announcements more often or more seldom than this are refused.
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// A stop shorter or longer than this is refused.
const SHUTDOWN_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// An append larger than this is refused, whatever the config says: more does not fit into one request.
const APPEND_SIZE_MAX: usize = 16 << 20;

/// The key whose value may hold a password, and says by itself what is wrong with it.
const STORE: &str = "store";

/// One key: its name, what it takes, and how it is set; answers nothing when the value is wrong.
struct Key {
    name: &'static str,
    expected: &'static str,
    set: fn(&mut Config, &Given) -> Option<()>,
}

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        expected: "an address such as 127.0.0.1:2113",
        set: |c, g| put(&mut c.listen, g.text()?.parse().ok()),
    },
    Key { name: "insecure", expected: "true or false", set: |c, g| put(&mut c.insecure, g.text()?.parse().ok()) },
    Key { name: "auth", expected: "on or off", set: |c, g| put(&mut c.auth, on_or_off(g.text()?)) },
    Key {
        name: "anonymous_streams",
        expected: "true or false",
        set: |c, g| put(&mut c.anonymous_streams, g.text()?.parse().ok()),
    },
    Key {
        name: "trusted_hosts",
        expected: "names such as forebay.example, without scheme and port",
        set: |c, g| put(&mut c.trusted_hosts, host_names(g)),
    },
    Key {
        name: "admin_password",
        expected: "a password of 1 to 1024 bytes",
        set: |c, g| put(&mut c.admin_password, password(g)),
    },
    Key {
        name: "admin_password_file",
        expected: "a file whose first line is a password",
        set: |c, g| put(&mut c.admin_password, password_file(g)),
    },
    Key {
        name: "ops_password",
        expected: "a password of 1 to 1024 bytes",
        set: |c, g| put(&mut c.ops_password, password(g)),
    },
    Key {
        name: "ops_password_file",
        expected: "a file whose first line is a password",
        set: |c, g| put(&mut c.ops_password, password_file(g)),
    },
    Key { name: "data", expected: "a directory", set: |c, g| put(&mut c.data, g.filled().map(PathBuf::from)) },
    Key {
        name: STORE,
        expected: "a connection string such as esdb://node1:2113,node2:2113",
        set: |c, g| put(&mut c.store, g.filled()?.parse().ok().map(Some)),
    },
    Key {
        name: "connectors",
        expected: "files or directories",
        set: |c, g| put(&mut c.connectors, Some(g.items().into_iter().map(PathBuf::from).collect())),
    },
    Key { name: "log.format", expected: "text or json", set: |c, g| put(&mut c.log_format, log_format(g.text()?)) },
    Key {
        name: "log.level",
        expected: "error, warn, info, debug, trace, or a list such as info,forebay_runtime=debug",
        set: |c, g| {
            put(&mut c.log_level, g.filled().filter(|text| EnvFilter::try_new(text).is_ok()).map(str::to_owned))
        },
    },
    Key { name: "node", expected: "a name", set: |c, g| put(&mut c.node, g.filled().map(str::to_owned)) },
    Key {
        name: "stream_prefix",
        expected: "a name that begins with one $, such as $connectors or $forebay/connectors",
        set: |c, g| {
            put(&mut c.stream_prefix, g.filled().filter(|text| is_prefix(text)).map(|text| Some(text.to_owned())))
        },
    },
    Key {
        name: "lease",
        expected: "a duration from 1s to 1h, such as 10s",
        set: |c, g| put(&mut c.lease, duration(g, LEASE_BOUNDS)),
    },
    Key {
        name: "shutdown_limit",
        expected: "a duration from 1s to 1h, such as 30s",
        set: |c, g| put(&mut c.shutdown_limit, duration(g, SHUTDOWN_BOUNDS)),
    },
    Key {
        name: "limits.connections",
        expected: "a whole number from 1 to 65536",
        set: |c, g| put(&mut c.connections_max, number(g, 1, 65_536)),
    },
    Key {
        name: "limits.connectors",
        expected: "a whole number from 1 to 100000",
        set: |c, g| put(&mut c.connectors_max, number(g, 1, 100_000)),
    },
    Key {
        name: "limits.append_bytes",
        expected: "a whole number from 1024 to 16777216",
        set: |c, g| put(&mut c.append_size_max, number(g, 1024, APPEND_SIZE_MAX)),
    },
    Key {
        name: "secret_key",
        expected: "64 hex digits",
        set: |c, g| put(&mut c.secret_key, crate::identity::key_from_hex(g.text()?).map(SecretKey::Key)),
    },
    Key {
        name: "secret_key_file",
        expected: "a file that holds 64 hex digits",
        set: |c, g| put(&mut c.secret_key, g.filled().map(|path| SecretKey::File(PathBuf::from(path)))),
    },
    Key {
        name: "tls.certificate",
        expected: "a PEM file with the server's certificate",
        set: |c, g| put(&mut tls(c).certificate, g.filled().map(PathBuf::from)),
    },
    Key {
        name: "tls.key",
        expected: "a PEM file with the private key of the server's certificate",
        set: |c, g| put(&mut tls(c).key, g.filled().map(PathBuf::from)),
    },
    Key {
        name: "tls.ca",
        expected: "a PEM file with the certificates of those who sign clients'",
        set: |c, g| put(&mut tls(c).ca, g.filled().map(|path| Some(PathBuf::from(path)))),
    },
    Key {
        name: "cluster.join",
        expected: "true or false",
        set: |c, g| put(&mut c.cluster.join, g.text()?.parse().ok().map(Some)),
    },
    Key {
        name: "cluster.labels",
        expected: "labels such as zone=eu,rack=7",
        set: |c, g| put(&mut c.cluster.labels, g.text().and_then(labels)),
    },
    Key {
        name: "cluster.address",
        expected: "an address that other machines reach, such as 10.0.0.7:2113",
        set: |c, g| put(&mut c.cluster.address, g.filled().map(|text| Some(text.to_owned()))),
    },
    Key {
        name: "cluster.heartbeat",
        expected: "a duration from 100ms to 1m, such as 3s",
        set: |c, g| put(&mut c.cluster.heartbeat, duration(g, HEARTBEAT_BOUNDS).map(Some)),
    },
];

/// A value as a layer gives it.
enum Given {
    Text(String),
    List(Vec<String>),
}

impl Given {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            Self::List(_) => None,
        }
    }

    fn filled(&self) -> Option<&str> {
        self.text().filter(|text| !text.is_empty())
    }

    fn items(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
            Self::List(items) => items.iter().map(String::as_str).collect(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("is {text:?}"),
            Self::List(items) => format!("is {items:?}"),
        }
    }
}

/// Reads all layers: defaults, file, environment, flags. Everything wrong is found in one pass.
pub fn load(
    options: &ServeOptions,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    let mut layers = Layers::default();
    if let Some(path) = &options.config {
        layers.file(path)?;
    }
    layers.environment(environment);
    layers.flags(options);
    layers.finish()
}

#[derive(Default)]
struct Layers {
    config: Config,
    wrong: Vec<WrongKey>,
}

impl Layers {
    fn file(&mut self, path: &Path) -> Result<(), ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        let table: Table = toml::from_str(&text)
            .map_err(|error| ConfigErrors::NotToml { path: path.to_owned(), reason: error.to_string() })?;
        let origin = format!("file {}", path.display());
        self.table("", table, &origin);
        Ok(())
    }

    fn table(&mut self, above: &str, table: Table, origin: &str) {
        for (name, value) in table {
            let key = if above.is_empty() { name } else { format!("{above}.{name}") };
            let is_level = KEYS.iter().any(|known| known.name.starts_with(&format!("{key}.")));
            match value {
                Value::Table(table) if is_level => self.table(&key, table, origin),
                Value::Array(items) => {
                    let items = items.iter().map(scalar).collect();
                    self.set(&key, &Given::List(items), origin);
                }
                other => self.set(&key, &Given::Text(scalar(&other)), origin),
            }
        }
    }

    fn environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        let ours = environment.filter(|(name, _)| name.starts_with(PREFIX) && !FOREIGN.contains(&name.as_str()));
        for (name, value) in ours {
            let origin = format!("environment variable {name}");
            match KEYS.iter().find(|known| variable(known.name) == name) {
                Some(key) => self.set(key.name, &Given::Text(value), &origin),
                None => {
                    let known: Vec<_> = KEYS.iter().map(|known| variable(known.name)).collect();
                    self.unknown(&name, &origin, &known);
                }
            }
        }
    }

    fn flags(&mut self, options: &ServeOptions) {
        let texts = [
            ("listen", "--listen", options.listen.clone()),
            (STORE, "--store", options.store.clone()),
            ("data", "--data", shown(options.data.as_ref())),
            ("tls.certificate", "--tls-certificate", shown(options.tls_certificate.as_ref())),
            ("tls.key", "--tls-key", shown(options.tls_key.as_ref())),
            ("log.format", "--log-format", options.log_format.clone()),
            ("log.level", "--log-level", options.log_level.clone()),
            ("auth", "--auth", options.auth.clone()),
            ("insecure", "--insecure", options.insecure.then(|| "true".to_owned())),
        ];
        for (key, flag, value) in texts {
            if let Some(value) = value {
                self.set(key, &Given::Text(value), &format!("flag {flag}"));
            }
        }
        if !options.connectors.is_empty() {
            self.config.connectors.clone_from(&options.connectors);
        }
    }

    fn set(&mut self, name: &str, given: &Given, origin: &str) {
        let Some(key) = KEYS.iter().find(|known| known.name == name) else {
            let known: Vec<_> = KEYS.iter().map(|known| known.name.to_owned()).collect();
            return self.unknown(name, origin, &known);
        };
        if (key.set)(&mut self.config, given).is_none() {
            let found = if SECRETS.contains(&name) { wrong_secret(name, given) } else { given.shown() };
            self.refuse(name, found, origin, key.expected.to_owned());
        }
    }

    fn unknown(&mut self, name: &str, origin: &str, known: &[String]) {
        let near = known
            .iter()
            .map(|candidate| (strsim::jaro_winkler(candidate, name), candidate))
            .filter(|(nearness, _)| *nearness >= NEARNESS_MIN)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let expected = near.map_or_else(|| format!("one of {}", known.join(", ")), |(_, nearest)| nearest.clone());
        self.refuse(name, "is not known".to_owned(), origin, expected);
    }

    fn refuse(&mut self, key: &str, found: String, origin: &str, expected: String) {
        self.wrong.push(WrongKey { key: key.to_owned(), found, origin: origin.to_owned(), expected });
    }

    fn finish(mut self) -> Result<Config, ConfigErrors> {
        if let Some(TlsFiles { certificate, key, .. }) = self.config.tls.clone() {
            for (name, path) in [("tls.certificate", certificate), ("tls.key", key)] {
                let is_told = self.wrong.iter().any(|wrong| wrong.key == name);
                if path.as_os_str().is_empty() && !is_told {
                    let expected = "tls.certificate and tls.key, both PEM files".to_owned();
                    self.refuse(name, "is missing".to_owned(), "checked", expected);
                }
            }
        }
        if self.wrong.is_empty()
            && let Err(exposed) = posture::asks(&self.config)
        {
            let Exposed { found, expected, .. } = exposed;
            self.refuse("listen", found, "checked", expected.to_owned());
        }
        if self.wrong.is_empty() { Ok(self.config) } else { Err(ConfigErrors::Wrong(self.wrong)) }
    }
}

/// What is wrong with a value that is not shown.
fn wrong_secret(name: &str, given: &Given) -> String {
    let error = given.filled().filter(|_| name == STORE).and_then(|text| text.parse::<RemoteSettings>().err());
    error.map_or_else(|| "is wrong".to_owned(), |error| format!("is wrong: {error}"))
}

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn shown(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

fn tls(config: &mut Config) -> &mut TlsFiles {
    config.tls.get_or_insert_default()
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn on_or_off(text: &str) -> Option<Option<bool>> {
    match text {
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        _ => None,
    }
}

fn host_names(given: &Given) -> Option<Vec<String>> {
    let is_name = |text: &str| text.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_label));
    given.items().into_iter().map(|item| is_name(item).then(|| item.to_owned())).collect()
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn password(given: &Given) -> Option<FirstPassword> {
    match given {
        Given::Text(text) => Password::new(text.clone()).map(FirstPassword::Given),
        Given::List(_) => None,
    }
}

fn password_file(given: &Given) -> Option<FirstPassword> {
    given.filled().map(|path| FirstPassword::File(PathBuf::from(path)))
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('$') && !text.starts_with("$$") && text.split('/').all(|part| !matches!(part, "" | "$"))
}

fn duration(given: &Given, (least, most): (Duration, Duration)) -> Option<Duration> {
    humantime::parse_duration(given.text()?).ok().filter(|duration| (least..=most).contains(duration))
}

fn number(given: &Given, least: usize, most: usize) -> Option<usize> {
    given.text()?.parse().ok().filter(|number| (least..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_from(file: &str, environment: &[(&str, &str)], options: ServeOptions) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("forebay.toml");
        std::fs::write(&path, file).unwrap();
        let options = ServeOptions { config: Some(path), ..options };
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&options, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_environment_and_that_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nnode = \"a\"\nlease = \"20s\"\n[log]\nformat = \"json\"\n[limits]\nconnections = 7\n";
        let environment = [("FOREBAY_LISTEN", "127.0.0.1:2"), ("FOREBAY_NODE", "b"), ("OTHER", "x")];
        let options = ServeOptions { listen: Some("127.0.0.1:3".to_owned()), ..ServeOptions::default() };
        let config = load_from(file, &environment, options).unwrap();
        assert_eq!((config.listen.port(), config.node.as_str()), (3, "b"));
        assert_eq!((config.lease, config.log_format), (Duration::from_secs(20), LogFormat::Json));
        assert_eq!((config.connections_max, config.connectors_max), (7, 1000));
    }

    #[test]
    fn every_wrong_key_is_named_with_its_origin_and_the_nearest() {
        let file = "lisen = 1\n[log]\nlevl = \"info\"\n";
        let environment = [("FOREBAY_DATE", "x"), ("FOREBAY_LEASE", "soon")];
        let error = load_from(file, &environment, ServeOptions::default()).unwrap_err();
        assert!(error.contains("lisen is not known (file "), "{error}");
        assert!(error.contains("forebay.toml): expected listen"), "{error}");
        assert!(error.contains("log.levl is not known"), "{error}");
        assert!(
            error.contains("FOREBAY_DATE is not known (environment variable FOREBAY_DATE): expected FOREBAY_DATA"),
            "{error}"
        );
        assert!(
            error.contains("lease is \"soon\" (environment variable FOREBAY_LEASE): expected a duration"),
            "{error}"
        );
    }

    #[test]
    fn a_secret_that_is_wrong_is_not_shown() {
        let error = load_from("secret_key = \"hunter2\"", &[], ServeOptions::default()).unwrap_err();
        assert!(error.contains("secret_key is wrong") && !error.contains("hunter2"), "{error}");
        let key = format!("secret_key = \"{}\"", "0f".repeat(32));
        let config = load_from(&key, &[], ServeOptions::default()).unwrap();
        assert_eq!(config.secret_key, SecretKey::Key([15; 32]));
        assert!(!format!("{config:?}").contains("15"), "{config:?}");
    }

    #[test]
    fn passwords_are_taken_as_they_are_and_not_shown() {
        let environment = [("FOREBAY_ADMIN_PASSWORD", " pass phrase "), ("FOREBAY_OPS_PASSWORD_FILE", "/run/ops")];
        let config = load_from("auth = \"on\"", &environment, ServeOptions::default()).unwrap();
        assert_eq!(config.auth, Some(true));
        assert_eq!(config.admin_password, FirstPassword::Given(Password::new(" pass phrase ").unwrap()));
        assert_eq!(config.ops_password, FirstPassword::File("/run/ops".into()));
        assert!(!format!("{config:?}").contains("phrase"), "{config:?}");
        let long = format!("ops_password = \"{}\"", "c4n4ry".repeat(200));
        let error = load_from(&long, &[("FOREBAY_USER", "ops")], ServeOptions::default()).unwrap_err();
        assert!(error.contains("ops_password is wrong") && !error.contains("c4n4ry"), "{error}");
    }

    #[test]
    fn a_store_is_named_by_its_connection_string_and_moves_the_connectors_streams() {
        let config =
            load_from("store = \"esdb://admin:hunter2@n1,n2?tls=false\"", &[], ServeOptions::default()).unwrap();
        assert_eq!((config.store.is_some(), config.stream_prefix()), (true, "$forebay/connectors"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let other = [("FOREBAY_STREAM_PREFIX", "$a/b")];
        assert_eq!(load_from("", &other, ServeOptions::default()).unwrap().stream_prefix(), "$a/b");
        assert_eq!(Config::default().stream_prefix(), "$connectors");
        for wrong in ["a", "$", "$$a", "$a/", "$a//b"] {
            assert!(load_from(&format!("stream_prefix = \"{wrong}\""), &[], ServeOptions::default()).is_err());
        }
        let store = Some("esdb://admin:hunter2@n1?tlsVerfyCert=no".to_owned());
        let error = load_from("", &[], ServeOptions { store, ..ServeOptions::default() }).unwrap_err();
        assert!(error.contains("\"tlsVerfyCert\" is not known: expected tlsVerifyCert (flag --store)"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_node_joins_others_with_labels() {
        let file = "[cluster]\njoin = true\nlabels = \"zone=eu, rack=7\"\nheartbeat = \"2s\"\n";
        let config = load_from(file, &[], ServeOptions::default()).unwrap();
        let told = crate::cluster::runtime_config(&config, config.listen).unwrap();
        assert_eq!((told.labels["zone"].as_str(), told.labels["rack"].as_str()), ("eu", "7"));
        assert_eq!((told.heartbeat, told.address.as_deref()), (Duration::from_secs(2), Some("127.0.0.1:2113")));
        assert!(load_from("[cluster]\nlabels = \"eu\"\n", &[], ServeOptions::default()).is_err());
        assert!(crate::cluster::runtime_config(&Config::default(), config.listen).is_none());
    }

    #[test]
    fn other_machines_are_served_only_on_demand() {
        let error = load_from("listen = \"0.0.0.0:2113\"", &[], ServeOptions::default()).unwrap_err();
        assert!(error.contains("--insecure"), "{error}");
        let options = ServeOptions { insecure: true, ..ServeOptions::default() };
        assert!(load_from("listen = \"0.0.0.0:2113\"", &[], options).is_ok());
        assert!(load_from("listen = \"[::1]:2113\"", &[], ServeOptions::default()).is_ok());
    }

    #[test]
    fn trusted_hosts_are_names_alone() {
        let config = load_from("trusted_hosts = [\"a.test\", \"b\"]", &[], ServeOptions::default()).unwrap();
        assert_eq!(config.trusted_hosts, ["a.test", "b"]);
        let config = load_from("", &[("FOREBAY_TRUSTED_HOSTS", "a.test, b")], ServeOptions::default()).unwrap();
        assert_eq!(config.trusted_hosts, ["a.test", "b"]);
        for wrong in ["https://a.test", "a.test:443", "*", "a..test"] {
            let error = load_from(&format!("trusted_hosts = \"{wrong}\""), &[], ServeOptions::default()).unwrap_err();
            assert!(error.contains("trusted_hosts is ") && error.contains("names such as"), "{error}");
        }
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let error = load_from("[tls]\ncertificate = \"c.pem\"", &[], ServeOptions::default()).unwrap_err();
        assert!(error.contains("tls.key is missing (checked): expected tls.certificate and tls.key"), "{error}");
        let error = load_from("[tls]\nca = \"ca.pem\"\nkey = \"\"", &[], ServeOptions::default()).unwrap_err();
        assert!(error.contains("tls.certificate is missing") && error.matches("tls.key ").count() == 1, "{error}");
        let environment = [("FOREBAY_TLS_CERTIFICATE", "c.pem"), ("FOREBAY_TLS_KEY", "k.pem")];
        let files = load_from("", &environment, ServeOptions::default()).unwrap().tls.unwrap();
        assert_eq!(files, TlsFiles { certificate: "c.pem".into(), key: "k.pem".into(), ca: None });
    }

    #[test]
    fn a_file_that_is_missing_or_not_toml_is_named() {
        let options = ServeOptions { config: Some(PathBuf::from("/no/such/file.toml")), ..ServeOptions::default() };
        assert!(load(&options, std::iter::empty()).unwrap_err().to_string().contains("/no/such/file.toml"));
        assert!(load_from("listen = ", &[], ServeOptions::default()).unwrap_err().contains("not valid TOML"));
    }
}
