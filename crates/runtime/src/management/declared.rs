//! Owns the form of a connector file: which keys it has and what may stand there.

use std::collections::BTreeSet;

use forebay_connector::settings::SettingsMap;
use forebay_event::Position;
use forebay_store::LogPoint;
use serde_json::{Map, Value};

use super::ApplyError;
use super::identity::{id_violations, name_violations};

const FILE_KEYS: [&str; 1] = ["connectors"];
const CONNECTOR_KEYS: [&str; 5] = ["id", "name", "state", "startFrom", "settings"];
const STATES: [&str; 2] = ["running", "stopped"];
const START_EXPECTED: &str = "expected `earliest`, `latest` or a position";

/// A connector as a file declares it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) id: String,
    pub(super) name: Option<String>,
    /// Whether it is to run; left as it is when not said.
    pub(super) running: Option<bool>,
    /// Where its first start begins.
    pub(super) start_from: Option<LogPoint>,
    pub(super) settings: SettingsMap,
}

/// Reads a whole file; the first thing wrong with it is told with its place.
pub(super) fn read(file: &Value) -> Result<Vec<Declared>, ApplyError> {
    let file = file.as_object().ok_or_else(|| form("the file", "is not a table with the key `connectors`"))?;
    check_keys("the file", file, &FILE_KEYS)?;
    let connectors = match file.get("connectors") {
        Some(Value::Array(connectors)) => connectors,
        Some(_) => return Err(form("connectors", "is not a list")),
        None => return Err(form("connectors", "is missing: expected a list of connectors")),
    };
    let mut seen = BTreeSet::new();
    let mut declared = Vec::with_capacity(connectors.len());
    for (index, connector) in connectors.iter().enumerate() {
        let connector = read_connector(index, connector)?;
        if !seen.insert(connector.id.clone()) {
            return Err(form(&format!("connector {}", connector.id), "is declared twice"));
        }
        declared.push(connector);
    }
    Ok(declared)
}

fn read_connector(index: usize, value: &Value) -> Result<Declared, ApplyError> {
    let place = format!("connectors[{index}]");
    let object = value.as_object().ok_or_else(|| form(&place, "is not a table"))?;
    let id = match object.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(_) => return Err(form(&place, "`id` is not text")),
        None => {
            check_keys(&place, object, &CONNECTOR_KEYS)?;
            return Err(form(&place, "`id` is missing"));
        }
    };
    let place = format!("connector {id}");
    if let Some(violation) = id_violations(&id).first() {
        return Err(form(&place, &format!("`id` {}", violation.problem)));
    }
    check_keys(&place, object, &CONNECTOR_KEYS)?;
    let settings = match object.get("settings") {
        Some(settings @ Value::Object(_)) => {
            SettingsMap::from_nested(settings).map_err(|errors| form(&place, &errors.to_string()))?
        }
        Some(_) => return Err(form(&place, "`settings` is not a table")),
        None => return Err(form(&place, "`settings` is missing")),
    };
    let name = read_name(&place, object)?;
    let running = read_state(&place, object)?;
    let start_from = read_start(&place, object)?;
    Ok(Declared { id, name, running, start_from, settings })
}

fn read_name(place: &str, object: &Map<String, Value>) -> Result<Option<String>, ApplyError> {
    let name = match object.get("name") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) => name,
        Some(_) => return Err(form(place, "`name` is not text")),
    };
    match name_violations(name).first() {
        Some(violation) => Err(form(place, &format!("`name` {}", violation.problem))),
        None => Ok(Some(name.clone())),
    }
}

fn read_state(place: &str, object: &Map<String, Value>) -> Result<Option<bool>, ApplyError> {
    match object.get("state") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word == "running" => Ok(Some(true)),
        Some(Value::String(word)) if word == "stopped" => Ok(Some(false)),
        Some(other) => {
            let expected = STATES.map(|state| format!("`{state}`")).join(" or ");
            Err(form(place, &format!("`state` is {other}: expected {expected}")))
        }
    }
}

fn read_start(place: &str, object: &Map<String, Value>) -> Result<Option<LogPoint>, ApplyError> {
    let at = |number: u64| if number == 0 { LogPoint::Start } else { LogPoint::At(Position::new(number)) };
    let point = match object.get("startFrom") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(word)) if word == "earliest" => Some(LogPoint::Start),
        Some(Value::String(word)) if word == "latest" => Some(LogPoint::End),
        Some(Value::String(text)) => text.parse().ok().map(at),
        Some(other) => other.as_u64().map(at),
    };
    let found = object.get("startFrom").unwrap_or(&Value::Null);
    point.map(Some).ok_or_else(|| form(place, &format!("`startFrom` is {found}: {START_EXPECTED}")))
}

fn check_keys(place: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), ApplyError> {
    let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str()) && !key.starts_with('_')) else {
        return Ok(());
    };
    let wanted = unknown.to_ascii_lowercase();
    let nearest = known.iter().min_by_key(|key| strsim::damerau_levenshtein(&key.to_ascii_lowercase(), &wanted));
    let nearest = nearest.map(|key| format!(": did you mean `{key}`?")).unwrap_or_default();
    Err(form(place, &format!("`{unknown}` is not known{nearest}")))
}

pub(super) fn form(place: &str, problem: &str) -> ApplyError {
    ApplyError::Form { place: place.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(file: Value) -> String {
        read(&file).unwrap_err().to_string()
    }

    fn one(connector: Value) -> Value {
        json!({"connectors": [connector]})
    }

    #[test]
    fn wrong_keys_are_refused_by_name_with_the_nearest() {
        assert_eq!(refusal(json!({"conectors": []})), "the file: `conectors` is not known: did you mean `connectors`?");
        let misspelt = json!({"id": "orders", "startfrom": "latest", "settings": {}});
        let text = "connector orders: `startfrom` is not known: did you mean `startFrom`?";
        assert_eq!(refusal(one(misspelt)), text);
        assert_eq!(refusal(one(json!({"ids": "x"}))), "connectors[0]: `ids` is not known: did you mean `id`?");
        assert_eq!(refusal(one(json!({"id": "orders"}))), "connector orders: `settings` is missing");
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_expected() {
        let with = |key: &str, value: Value| {
            let mut connector = json!({"id": "orders", "settings": {}});
            connector[key] = value;
            refusal(one(connector))
        };
        assert_eq!(with("state", json!("on")), "connector orders: `state` is \"on\": expected `running` or `stopped`");
        assert!(with("startFrom", json!("soon")).ends_with(START_EXPECTED));
        assert!(with("startFrom", json!(-1)).ends_with(START_EXPECTED));
        assert!(with("name", json!("x")).contains("between 3 and 50"));
        assert!(refusal(one(json!({"id": "a.b", "settings": {}}))).contains("`id` must be between"));
        let twice = json!({"id": "orders", "settings": {}});
        assert_eq!(refusal(json!({"connectors": [twice, twice]})), "connector orders: is declared twice");
    }

    #[test]
    fn settings_are_nested_or_flat() {
        let flat = json!({"id": "orders", "settings": {"subscription:filter:scope": "stream"}, "startFrom": 7});
        let nested = json!({"id": "orders", "settings": {"subscription": {"filter": {"scope": "stream"}}}});
        for connector in [flat, nested] {
            let declared = read(&one(connector)).unwrap();
            assert_eq!(declared[0].settings.get("subscription:filter:scope"), Some("stream"));
        }
    }
}
