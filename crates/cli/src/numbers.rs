//! Owns reading numbers from answers: 64-bit ones come as text.

use serde_json::Value;

/// A number that may come as a JSON number or, being a 64-bit one, as text.
pub(crate) fn number(value: &Value, key: &str) -> u64 {
    let value = value.get(key);
    let text = || value.and_then(Value::as_str).and_then(|text| text.parse().ok());
    value.and_then(Value::as_u64).or_else(text).unwrap_or(0)
}

/// A revision or position as text, in whichever form it comes.
pub(crate) fn point(value: &Value, key: &str) -> Option<String> {
    point_of(value.get(key)?)
}

/// The same, of the value itself.
pub(crate) fn point_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
