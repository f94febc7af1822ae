//! Owns the flat map of settings: colon keys, text values, and the way to nested JSON and back.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::describe::find_description;
use super::{MASK, SettingDescription, SettingError, SettingsErrors, ValueKind};

/// The deepest nesting that is taken; deeper settings are refused.
const DEPTH_MAX: usize = 32;

/// What a user gives a connector: keys with `:` between levels, such as `subscription:filter:scope`, and text values.
///
/// Keys are kept as given and compared without regard to case. A key that begins with `_` (at any level) is a comment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SettingsMap {
    /// By key in lower case.
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    value: String,
}

impl SettingsMap {
    /// Takes a flat map as it is; of keys that differ only in case the last one counts.
    pub fn from_flat(entries: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(&key, &value);
        }
        map
    }

    /// Takes a flat JSON object: text, numbers and booleans are values, null is an absent key.
    pub fn from_flat_json(object: &Map<String, Value>) -> Result<Self, SettingsErrors> {
        let (mut map, mut errors) = (Self::default(), Vec::new());
        for (key, value) in object {
            match value {
                Value::Null => {}
                Value::String(text) => map.insert(key, text),
                Value::Bool(flag) => map.insert(key, if *flag { "true" } else { "false" }),
                Value::Number(number) => map.insert(key, &number.to_string()),
                Value::Array(_) | Value::Object(_) => errors.push(SettingError {
                    key: key.clone(),
                    found: "is an object or an array".into(),
                    expected: "text, a number, true or false".into(),
                }),
            }
        }
        SettingsErrors::check(errors).map(|()| map)
    }

    /// Flattens nested JSON: objects join with `:`, array elements get index keys (`a:0`), null is an absent key.
    pub fn from_nested(value: &Value) -> Result<Self, SettingsErrors> {
        let Value::Object(object) = value else {
            return Err(SettingsErrors::single("configuration", "is not an object", "an object"));
        };
        let (mut map, mut errors) = (Self::default(), Vec::new());
        for (key, value) in object {
            map.flatten(key.clone(), value, DEPTH_MAX, &mut errors);
        }
        SettingsErrors::check(errors).map(|()| map)
    }

    fn flatten(&mut self, key: String, value: &Value, depth_left: usize, errors: &mut Vec<SettingError>) {
        if depth_left == 0 {
            let expected = format!("at most {DEPTH_MAX} levels");
            return errors.push(SettingError { key, found: "is nested too deeply".into(), expected });
        }
        match value {
            Value::Null => {}
            Value::Bool(flag) => self.insert(&key, if *flag { "True" } else { "False" }),
            Value::Number(number) => self.insert(&key, &number.to_string()),
            Value::String(text) => self.insert(&key, text),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.flatten(format!("{key}:{index}"), item, depth_left - 1, errors);
                }
            }
            Value::Object(object) => {
                for (name, item) in object {
                    self.flatten(format!("{key}:{name}"), item, depth_left - 1, errors);
                }
            }
        }
    }

    /// The same settings as nested JSON.
    ///
    /// A level whose keys are all whole numbers is an array. Text that reads as a boolean or a number becomes one, unless
    /// the key is described as something else. Empty values are left out.
    pub fn to_nested(&self, descriptions: &[SettingDescription]) -> Value {
        let mut root = Tree::default();
        for (key, value) in self.iter().filter(|(_, value)| !value.is_empty()) {
            root.place(key, typed(value, find_description(descriptions, key)), DEPTH_MAX);
        }
        root.into_json()
    }

    /// The value of a key, whatever the case of its letters.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(&key.to_ascii_lowercase()).map(|entry| entry.value.as_str())
    }

    /// Sets a key, replacing its value whatever the case of its letters.
    pub fn insert(&mut self, key: &str, value: &str) {
        let entry = Entry { key: key.to_owned(), value: value.to_owned() };
        self.entries.insert(key.to_ascii_lowercase(), entry);
    }

    /// Takes a key out and answers its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.entries.remove(&key.to_ascii_lowercase()).map(|entry| entry.value)
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, ordered by key without regard to case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.values().map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// The entries below a level, as the rest of the key and the value.
    pub fn below<'a>(&'a self, level: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let start = format!("{}:", level.to_ascii_lowercase());
        let length = start.len();
        self.entries
            .range(start.clone()..)
            .take_while(move |(lower, _)| lower.starts_with(&start))
            .filter_map(move |(_, entry)| Some((entry.key.get(length..)?, entry.value.as_str())))
    }

    /// The same settings with every secret value replaced by [`MASK`].
    #[must_use]
    pub fn masked(&self, descriptions: &[SettingDescription]) -> Self {
        let mut masked = self.clone();
        for entry in masked.entries.values_mut() {
            if find_description(descriptions, &entry.key).is_some_and(|description| description.secret) {
                MASK.clone_into(&mut entry.value);
            }
        }
        masked
    }
}

/// Shows the keys alone: which values are secret is known to the kind, not to the map.
impl fmt::Debug for SettingsMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.values().map(|entry| &entry.key)).finish()
    }
}

fn typed(value: &str, description: Option<&SettingDescription>) -> Value {
    let kind = description.map(|description| description.value);
    let text = || Value::String(value.to_owned());
    match kind {
        Some(ValueKind::Text | ValueKind::Word | ValueKind::Duration | ValueKind::List) => return text(),
        None | Some(ValueKind::Bool | ValueKind::Integer | ValueKind::Number) => {}
    }
    if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
        return Value::Bool(value.eq_ignore_ascii_case("true"));
    }
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    let looks_like_number = value.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    match value.parse::<f64>() {
        Ok(number) if looks_like_number && number.is_finite() => number.into(),
        _ => text(),
    }
}

/// Settings on their way to nested JSON.
#[derive(Default)]
struct Tree {
    value: Option<Value>,
    children: BTreeMap<String, (String, Tree)>,
}

impl Tree {
    /// Below the deepest level that is taken, the rest of the key is one name.
    fn place(&mut self, key: &str, value: Value, depth_left: usize) {
        match key.split_once(':') {
            Some((level, rest)) if depth_left > 0 => self.child(level).place(rest, value, depth_left - 1),
            _ => self.child(key).value = Some(value),
        }
    }

    fn child(&mut self, name: &str) -> &mut Self {
        &mut self.children.entry(name.to_ascii_lowercase()).or_insert_with(|| (name.to_owned(), Self::default())).1
    }

    fn into_json(self) -> Value {
        let indices = self.children.keys().map(|name| name.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
        match indices {
            Some(indices) if !indices.is_empty() => {
                let mut items: Vec<_> = indices.into_iter().zip(self.children.into_values()).collect();
                items.sort_by_key(|(index, _)| *index);
                Value::Array(items.into_iter().map(|(_, (_, tree))| tree.into_item()).collect())
            }
            _ => Value::Object(
                self.children.into_values().map(|(name, tree)| (name, tree.into_item())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// A key that has a value of its own and keys below it shows the keys below it.
    fn into_item(self) -> Value {
        if self.children.is_empty() { self.value.unwrap_or(Value::Null) } else { self.into_json() }
    }
}
