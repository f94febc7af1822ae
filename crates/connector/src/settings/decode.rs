//! Owns the decoder: from a flat map of text to a typed struct, with everything that is wrong said at once.

use serde_json::{Map, Number, Value};

use super::describe::is_comment;
use super::shape::{Field, Leaf, Node, Shape, shape_of};
use super::tracked::deserialize_tracked;
use super::values::{decode_base64, parse_duration};
use super::{SettingError, Settings, SettingsErrors, SettingsMap};

/// The most elements a list and entries a map of settings may have.
const ELEMENTS_MAX: usize = 10_000;

/// Decodes the keys that a struct of settings knows; other keys are left to others.
///
/// Text becomes what the field's type says. Everything that is wrong is found in one pass; secrets are not shown.
pub fn decode<T: Settings>(map: &SettingsMap) -> Result<T, SettingsErrors> {
    let shape = shape_of::<T>();
    let mut decoder = Decoder { map, errors: Vec::new() };
    let value = decoder.node(&shape, "", true).unwrap_or_else(|| Value::Object(Map::new()));
    SettingsErrors::check(decoder.errors)?;
    deserialize_tracked(value).map_err(|wrong| {
        let secret = is_secret(&shape, &wrong.key);
        let found = match map.get(&wrong.key) {
            Some(_) if secret => "is not valid".to_owned(),
            Some(text) => format!("is {text:?}"),
            None => "is not valid".to_owned(),
        };
        let expected = if secret { "a valid value".to_owned() } else { wrong.reason };
        SettingsErrors::single(wrong.key, found, expected)
    })
}

struct Decoder<'a> {
    map: &'a SettingsMap,
    errors: Vec<SettingError>,
}

impl Decoder<'_> {
    /// The value at a key; nothing when it is absent or wrong (then the error is noted).
    fn node(&mut self, node: &Node, key: &str, required: bool) -> Option<Value> {
        match &node.shape {
            Shape::Object(fields) => self.object(fields, key, required),
            Shape::Map(values) => self.map(values, key),
            Shape::List(items) => self.list(items, key, required),
            Shape::Leaf(leaf) => {
                let Some(text) = self.map.get(key) else {
                    if required {
                        self.note(key, "is missing".into(), leaf.expected());
                    }
                    return None;
                };
                self.leaf(leaf, text, key, node.secret)
            }
        }
    }

    fn object(&mut self, fields: &[Field], key: &str, required: bool) -> Option<Value> {
        if !required && self.map.below(key).all(|(rest, _)| is_comment(rest)) {
            return None;
        }
        let mut object = Map::new();
        for field in fields {
            let key = if key.is_empty() { field.name.clone() } else { format!("{key}:{}", field.name) };
            if let Some(value) = self.node(&field.node, &key, field.required) {
                object.insert(field.name.clone(), value);
            }
        }
        Some(Value::Object(object))
    }

    fn map(&mut self, values: &Node, key: &str) -> Option<Value> {
        let mut names: Vec<String> = Vec::new();
        for (rest, _) in self.map.below(key).filter(|(rest, _)| !is_comment(rest)) {
            let is_leaf = matches!(values.shape, Shape::Leaf(_));
            let name = if is_leaf { rest } else { rest.split(':').next().unwrap_or(rest) };
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) && names.len() < ELEMENTS_MAX {
                names.push(name.to_owned());
            }
        }
        let mut object = Map::new();
        for name in names {
            if let Some(value) = self.node(values, &format!("{key}:{name}"), false) {
                object.insert(name, value);
            }
        }
        (!object.is_empty()).then_some(Value::Object(object))
    }

    fn list(&mut self, items: &Node, key: &str, required: bool) -> Option<Value> {
        if let (Some(text), Shape::Leaf(leaf)) = (self.map.get(key), &items.shape) {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            let values: Vec<_> = words
                .take(ELEMENTS_MAX)
                .collect::<Vec<_>>()
                .into_iter()
                .map(|word| self.leaf(leaf, word, key, items.secret))
                .collect();
            return values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array);
        }
        let mut indices: Vec<usize> =
            self.map.below(key).filter_map(|(rest, _)| rest.split(':').next()?.parse().ok()).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.truncate(ELEMENTS_MAX);
        if indices.is_empty() {
            if required {
                self.note(key, "is missing".into(), "a list".into());
            }
            return None;
        }
        let values: Vec<_> =
            indices.into_iter().filter_map(|index| self.node(items, &format!("{key}:{index}"), true)).collect();
        Some(Value::Array(values))
    }

    fn leaf(&mut self, leaf: &Leaf, text: &str, key: &str, secret: bool) -> Option<Value> {
        let value = coerce(leaf, text);
        if value.is_none() {
            let found = if secret { "is not valid".to_owned() } else { format!("is {text:?}") };
            self.note(key, found, leaf.expected());
        }
        value
    }

    fn note(&mut self, key: &str, found: String, expected: String) {
        self.errors.push(SettingError { key: key.to_owned(), found, expected });
    }
}

fn coerce(leaf: &Leaf, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let verbatim = |valid: bool| valid.then(|| Value::String(text.to_owned()));
    match leaf {
        Leaf::Text => verbatim(true),
        Leaf::Bool if trimmed.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        Leaf::Bool if trimmed.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        Leaf::Bool => None,
        Leaf::Integer { min, max } => integer(trimmed).filter(|number| within(number, *min, *max)).map(Value::Number),
        Leaf::Number { min, max } => {
            let number = Number::from_f64(trimmed.parse().ok()?)?;
            within(&number, *min, *max).then_some(Value::Number(number))
        }
        Leaf::Words(words) => {
            words.iter().find(|word| word.eq_ignore_ascii_case(trimmed)).map(|word| Value::String(word.clone()))
        }
        Leaf::DurationMs => verbatim(parse_duration(text, true).is_some()),
        Leaf::Span => verbatim(parse_duration(text, false).is_some()),
        Leaf::Base64 => verbatim(decode_base64(text).is_some()),
    }
}

fn integer(text: &str) -> Option<Number> {
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

fn within(number: &Number, min: Option<f64>, max: Option<f64>) -> bool {
    let Some(number) = number.as_f64() else { return false };
    min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
}

fn is_secret(node: &Node, key: &str) -> bool {
    let Some((level, rest)) = key.split_once(':').or((!key.is_empty()).then_some((key, ""))) else {
        return node.secret;
    };
    match &node.shape {
        Shape::Object(fields) => fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(level))
            .is_none_or(|field| is_secret(&field.node, rest)),
        Shape::Map(inner) | Shape::List(inner) => inner.secret || is_secret(inner, rest),
        Shape::Leaf(_) => node.secret,
    }
}
