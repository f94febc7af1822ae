//! Owns the description of a struct of settings, and the check that a map holds no other keys.

use schemars::JsonSchema;
use serde_json::Value;

use super::shape::{Field, Leaf, Node, Shape, shape_of};
use super::{SettingError, SettingsErrors, SettingsMap};

/// The form of a setting's value, for forms and nested JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A length of time.
    Duration,
    /// One of a list of words.
    Word,
    /// Comma-separated values, or one per index key (`a:0`, `a:1`).
    List,
}

/// One key that a struct of settings knows: what the reference page, `describe`, the form and the schema show.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingDescription {
    /// The key, such as `authentication:basic:password`; `defaultHeaders:*` stands for any name at that place.
    pub key: String,
    /// The form of its value.
    pub value: ValueKind,
    /// What a value looks like, for a person: `text`, `true or false`, `whole number`, `duration`, or the allowed words.
    pub expected: String,
    /// The value that holds when the key is absent, as text.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is never shown again.
    pub secret: bool,
    /// The allowed words, if the value is one of a list.
    pub words: Vec<String>,
    /// The manual: meaning, unit, bounds.
    pub doc: String,
}

/// Describes every key of a struct of settings, in the order of its fields.
pub fn describe<T: JsonSchema>() -> Vec<SettingDescription> {
    let mut descriptions = Vec::new();
    describe_node(&shape_of::<T>(), "", false, &mut descriptions);
    descriptions
}

fn describe_node(node: &Node, key: &str, required: bool, into: &mut Vec<SettingDescription>) {
    match &node.shape {
        Shape::Object(fields) => {
            for Field { name, required: own, node: inner } in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}:{name}") };
                // A required key of a level that may be absent is required only with that level; its doc says so.
                let inherited = node.default.as_ref().and_then(|default| default.get(name)).filter(|v| !v.is_null());
                let inner = Node { default: inner.default.clone().or_else(|| inherited.cloned()), ..inner.clone() };
                describe_node(&inner, &key, *own && (required || !key.contains(':')), into);
            }
        }
        Shape::Map(values) => {
            let values = Node { doc: either(&values.doc, &node.doc), ..(**values).clone() };
            describe_node(&values, &format!("{key}:*"), false, into);
        }
        Shape::List(items) => match &items.shape {
            Shape::Leaf(leaf) => {
                let expected = format!("comma-separated list, each {}", leaf.expected());
                let secret = node.secret || items.secret;
                into.push(description(Node { secret, ..node.clone() }, key, required, (ValueKind::List, expected)));
            }
            _ => describe_node(items, &format!("{key}:*"), false, into),
        },
        Shape::Leaf(leaf) => {
            let form = (value_kind(leaf), leaf.expected());
            let mut description = description(node.clone(), key, required, form);
            if let Leaf::Words(words) = leaf {
                description.words.clone_from(words);
            }
            into.push(description);
        }
    }
}

fn either(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { first.to_owned() }
}

fn description(node: Node, key: &str, required: bool, form: (ValueKind, String)) -> SettingDescription {
    SettingDescription {
        key: key.to_owned(),
        value: form.0,
        expected: form.1,
        default: if node.secret { None } else { node.default.as_ref().and_then(default_text) },
        required,
        secret: node.secret,
        words: Vec::new(),
        doc: node.doc,
    }
}

fn default_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(default_text).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

fn value_kind(leaf: &Leaf) -> ValueKind {
    match leaf {
        Leaf::Text | Leaf::Base64 => ValueKind::Text,
        Leaf::Bool => ValueKind::Bool,
        Leaf::Integer { .. } => ValueKind::Integer,
        Leaf::Number { .. } => ValueKind::Number,
        Leaf::Words(_) => ValueKind::Word,
        Leaf::DurationMs | Leaf::Span => ValueKind::Duration,
    }
}

/// Fails for every key that no description knows, naming the nearest that is known; comments pass.
pub fn check_known(map: &SettingsMap, descriptions: &[SettingDescription]) -> Result<(), SettingsErrors> {
    let unknown = |key: &str| !is_comment(key) && find_description(descriptions, key).is_none();
    let errors = map.iter().filter(|(key, _)| unknown(key)).map(|(key, _)| SettingError {
        key: key.to_owned(),
        found: "is not known".into(),
        expected: match nearest(key, descriptions) {
            Some(nearest) => format!("{nearest}, or a key that begins with _ for a comment"),
            None => "a key that this kind of connector knows".into(),
        },
    });
    SettingsErrors::check(errors.collect())
}

/// Whether any level of the key begins with `_`.
pub(super) fn is_comment(key: &str) -> bool {
    key.split(':').any(|level| level.starts_with('_'))
}

/// The description of a key: the same but for case, with `*` for any name and index keys for lists.
pub(super) fn find_description<'a>(
    descriptions: &'a [SettingDescription],
    key: &str,
) -> Option<&'a SettingDescription> {
    descriptions.iter().find(|description| matches(description, key))
}

fn matches(description: &SettingDescription, key: &str) -> bool {
    let (mut known, mut given) = (description.key.split(':'), key.split(':'));
    loop {
        match (known.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(name)) if !name.is_empty() => {
                // At the end it stands for any name, and a name may hold colons.
                if known.clone().next().is_none() {
                    return true;
                }
            }
            (Some(level), Some(name)) if level.eq_ignore_ascii_case(name) => {}
            (None, Some(index)) => {
                return description.value == ValueKind::List
                    && index.bytes().all(|byte| byte.is_ascii_digit())
                    && given.next().is_none();
            }
            _ => return false,
        }
    }
}

fn nearest<'a>(key: &str, descriptions: &'a [SettingDescription]) -> Option<&'a str> {
    /// A key less similar than this is no help.
    const SIMILARITY_MIN: f64 = 0.5;
    /// Comparing takes time by length; no known key is near so long a one.
    const KEY_BYTES_MAX: usize = 256;
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let key = key.to_ascii_lowercase();
    descriptions
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&key, &known.key.to_ascii_lowercase()), known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, known)| known.key.as_str())
}
