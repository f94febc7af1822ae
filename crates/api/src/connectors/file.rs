//! Owns reading connector files: YAML, TOML or JSON, all to the same JSON value.

use std::path::Path;

use serde_json::Value;

/// The language of a connector file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl FileFormat {
    /// By the file's extension: `yaml`, `yml`, `toml` or `json`.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// By a media type without parameters.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Self::Yaml),
            "application/toml" => Some(Self::Toml),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// A connector file is not in the language that it is said to be in.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not YAML.
    #[error("the file is not valid YAML: {0}")]
    Yaml(#[from] serde_saphyr::Error),
    /// Not TOML.
    #[error("the file is not valid TOML: {0}")]
    Toml(#[from] toml::de::Error),
    /// Not JSON.
    #[error("the file is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads a connector file into the value that the runtime applies.
pub fn parse_connector_file(text: &str, format: FileFormat) -> Result<Value, ParseError> {
    match format {
        FileFormat::Yaml => Ok(serde_saphyr::from_str(text)?),
        FileFormat::Toml => Ok(json_of(toml::Value::Table(toml::from_str(text)?))),
        FileFormat::Json => Ok(serde_json::from_str(text)?),
    }
}

fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json_of).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, json_of(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_languages_say_the_same() {
        let wanted =
            json!({ "connectors": [{ "id": "quakes", "settings": { "url": "http://x", "n": 3, "on": true } }] });
        let yaml = "connectors:\n  - id: quakes\n    settings:\n      url: http://x\n      n: 3\n      \"on\": true\n";
        let toml = "[[connectors]]\nid = \"quakes\"\n[connectors.settings]\nurl = \"http://x\"\nn = 3\non = true\n";
        assert_eq!(parse_connector_file(yaml, FileFormat::Yaml).unwrap(), wanted);
        assert_eq!(parse_connector_file(toml, FileFormat::Toml).unwrap(), wanted);
        assert_eq!(parse_connector_file(&wanted.to_string(), FileFormat::Json).unwrap(), wanted);
    }

    #[test]
    fn scripts_keep_their_lines() {
        let yaml = "f: |\n  function transform(r) {\n    r.value = 1;\n  }\n";
        let value = parse_connector_file(yaml, FileFormat::Yaml).unwrap();
        assert_eq!(value["f"], "function transform(r) {\n  r.value = 1;\n}\n");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = parse_connector_file("a = [1,\nb = 2", FileFormat::Toml).unwrap_err();
        assert!(error.to_string().starts_with("the file is not valid TOML: "), "{error}");
        assert!(parse_connector_file("a: [1", FileFormat::Yaml).is_err());
        assert_eq!(FileFormat::of_path(Path::new("dir/a.YML")), Some(FileFormat::Yaml));
        assert_eq!(FileFormat::of_path(Path::new("yaml")), None);
    }
}
