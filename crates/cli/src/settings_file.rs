//! Owns reading settings: from JSON, YAML and TOML files, and from `--set key=value`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;

/// The most bytes of a file with settings or connectors.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Settings by colon key.
pub(crate) type Settings = BTreeMap<String, String>;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileForm {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// TOML
    Toml,
}

impl FileForm {
    /// The form that the file's name says, or the one that was given.
    pub(crate) fn of(path: &Path, given: Option<Self>) -> Result<Self, Failure> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let named = match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        };
        given.or(named).ok_or_else(|| {
            let found = format!("`{}` has no known ending", path.display());
            Failure::usage("FILE", found, ".json, .yaml, .yml or .toml, or --format json|yaml|toml")
        })
    }

    /// The media type under which such a file is sent.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Toml => "application/toml",
        }
    }

    fn parse(self, path: &Path, text: &str) -> Result<Value, Failure> {
        let problem = match self {
            Self::Json => match serde_json::from_str(text) {
                Ok(value) => return Ok(value),
                Err(error) => error.to_string(),
            },
            Self::Yaml => match serde_saphyr::from_str(text) {
                Ok(value) => return Ok(value),
                Err(error) => error.to_string(),
            },
            Self::Toml => match toml::from_str(text) {
                Ok(value) => return Ok(value),
                Err(error) => error.to_string(),
            },
        };
        let expected = format!("valid {}", self.media_type().trim_start_matches("application/").to_uppercase());
        Err(Failure::usage(path.display().to_string(), problem, expected))
    }
}

/// Reads a text file, or standard input for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::File { path: path.to_owned(), error };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    };
    let bytes = read.map_err(failed)? as u64;
    if bytes > FILE_BYTES_MAX {
        let found = format!("more than {FILE_BYTES_MAX} bytes");
        return Err(Failure::usage(path.display().to_string(), found, "a smaller file"));
    }
    Ok(text)
}

/// Reads the settings of one connector: a file of nothing but settings (flat or nested, or under `settings` or
/// `configuration`), or a file of connectors, of which the one called `connector` is taken.
pub(crate) fn read_settings(path: &Path, form: Option<FileForm>, connector: Option<&str>) -> Result<Settings, Failure> {
    let value = FileForm::of(path, form)?.parse(path, &read_text(path)?)?;
    let place = path.display().to_string();
    let settings = match value.get("connectors").and_then(Value::as_array) {
        Some(declared) => chosen(&place, declared, connector)?,
        None => value,
    };
    let inner = ["settings", "configuration"].iter().find_map(|key| settings.get(key).filter(|v| v.is_object()));
    flatten(&place, inner.unwrap_or(&settings))
}

fn chosen(place: &str, declared: &[Value], wanted: Option<&str>) -> Result<Value, Failure> {
    let id = |connector: &Value| connector.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ids = declared.iter().map(id).collect::<Vec<_>>().join(", ");
    let found = match (wanted, declared) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(wanted), _) => declared.iter().find(|connector| id(connector) == wanted),
    };
    found.cloned().ok_or_else(|| {
        let found = format!("the file declares: {ids}");
        Failure::usage(place, found, "--connector with one of these ids")
    })
}

/// Nested settings as a flat map with colon keys; array elements get their index as key.
pub(crate) fn flatten(place: &str, value: &Value) -> Result<Settings, Failure> {
    if !value.is_object() {
        return Err(Failure::usage(place, kind_of(value), "settings: a map of keys to values"));
    }
    let mut settings = Settings::new();
    flatten_into(String::new(), value, &mut settings);
    Ok(settings)
}

fn flatten_into(key: String, value: &Value, settings: &mut Settings) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}:{part}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(part, value)| flatten_into(below(part), value, settings)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, v)| flatten_into(below(&index.to_string()), v, settings));
        }
        Value::Null => {}
        Value::String(text) => drop(settings.insert(key, text.clone())),
        scalar => drop(settings.insert(key, scalar.to_string())),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
        _ => "a single value",
    }
}

/// Where the settings of a command come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SettingsOptions {
    /// A file of settings (JSON, YAML or TOML), flat or nested; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// The form of that file, when its name does not say
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<FileForm>,
    /// One setting, as `key=value`; wins over the file; `key=@FILE` takes the value from a file
    #[arg(long = "set", short = 's', value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl SettingsOptions {
    /// Whether a file was named.
    pub(crate) fn has_file(&self) -> bool {
        self.settings.is_some()
    }

    /// The settings of the file, with those of `--set` over them.
    pub(crate) fn over(&self, mut settings: Settings) -> Result<Settings, Failure> {
        if let Some(path) = &self.settings {
            settings.extend(read_settings(path, self.format, None)?);
        }
        for pair in &self.set {
            let (key, value) = pair.split_once('=').filter(|(key, _)| !key.trim().is_empty()).ok_or_else(|| {
                Failure::usage("--set", format!("`{pair}`"), "KEY=VALUE, such as --set url=http://127.0.0.1:8080")
            })?;
            let value = match value.strip_prefix('@') {
                Some(path) => read_text(Path::new(path))?,
                None => value.to_owned(),
            };
            put(&mut settings, key.trim(), value);
        }
        Ok(settings)
    }
}

/// Sets a key, whatever the letter case in which it was there before.
pub(crate) fn put(settings: &mut Settings, key: &str, value: String) {
    remove(settings, key);
    settings.insert(key.to_owned(), value);
}

/// Removes a key in any letter case; whether it was there.
pub(crate) fn remove(settings: &mut Settings, key: &str) -> bool {
    let before = settings.len();
    settings.retain(|known, _| !known.eq_ignore_ascii_case(key));
    settings.len() < before
}

/// The value of a key in any letter case.
pub(crate) fn get<'a>(settings: &'a Settings, key: &str) -> Option<&'a str> {
    settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ending: &str, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn settings_of(ending: &str, text: &str, connector: Option<&str>) -> Result<Settings, Failure> {
        read_settings(file(ending, text).path(), None, connector)
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let json = r#"{"instanceTypeName":"http-sink","subscription":{"filter":{"scope":"stream"}},"n":3,"on":true}"#;
        let yaml = "instanceTypeName: http-sink\nsubscription:\n  filter: { scope: stream }\nn: 3\non: true\n";
        let toml = "instanceTypeName = \"http-sink\"\nn = 3\non = true\n[subscription.filter]\nscope = \"stream\"\n";
        let expected = settings_of(".json", json, None).unwrap();
        assert_eq!(get(&expected, "Subscription:Filter:Scope"), Some("stream"));
        assert_eq!(get(&expected, "n"), Some("3"));
        assert_eq!(get(&expected, "on"), Some("true"));
        assert_eq!(settings_of(".yaml", yaml, None).unwrap(), expected);
        assert_eq!(settings_of(".toml", toml, None).unwrap(), expected);
    }

    #[test]
    fn a_connectors_file_needs_a_choice_only_when_it_declares_several() {
        let one = "connectors:\n- id: orders\n  settings: { url: a }\n";
        assert_eq!(get(&settings_of(".yml", one, None).unwrap(), "url"), Some("a"));
        let two = format!("{one}- id: bills\n  settings: {{ url: b }}\n");
        let problem = settings_of(".yml", &two, None).unwrap_err().to_string();
        assert!(problem.contains("orders, bills") && problem.contains("--connector"), "{problem}");
        assert_eq!(get(&settings_of(".yml", &two, Some("bills")).unwrap(), "url"), Some("b"));
    }

    #[test]
    fn set_wins_over_the_file_in_any_letter_case() {
        let file = file(".json", r#"{"URL":"a","method":"PUT"}"#);
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "function transform(r) {}").unwrap();
        let options = SettingsOptions {
            settings: Some(file.path().to_owned()),
            format: None,
            set: vec!["url=b=c".to_owned(), format!("transformer:function=@{}", script.path().display())],
        };
        let settings = options.over(Settings::new()).unwrap();
        assert_eq!(settings.len(), 3);
        assert_eq!(get(&settings, "url"), Some("b=c"));
        assert_eq!(get(&settings, "transformer:function"), Some("function transform(r) {}"));
    }

    #[test]
    fn what_is_wrong_names_place_and_expectation() {
        let wrong = SettingsOptions { set: vec!["url".to_owned()], ..SettingsOptions::default() };
        let problem = wrong.over(Settings::new()).unwrap_err().to_string();
        assert!(problem.contains("`url`") && problem.contains("KEY=VALUE"), "{problem}");
        let problem = settings_of(".json", "[1]", None).unwrap_err().to_string();
        assert!(problem.contains("a list; expected settings"), "{problem}");
        assert!(settings_of(".txt", "", None).unwrap_err().to_string().contains("--format"));
        assert!(settings_of(".toml", "a = ", None).unwrap_err().to_string().contains("valid TOML"));
    }
}
