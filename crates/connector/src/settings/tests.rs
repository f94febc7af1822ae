//! Tests settings through the public functions.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, proptest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Sample {
    /// Where to send.
    url: Port,
    /// How it is sent.
    #[serde(default)]
    mode: Mode,
    /// Who we are.
    #[serde(default)]
    authentication: Authentication,
    #[serde(default)]
    default_headers: BTreeMap<String, String>,
    #[serde(default)]
    codes: Vec<u16>,
    #[serde(default)]
    request_timeout_ms: DurationMs,
    #[serde(default = "five_minutes")]
    pooled_connection_lifetime: Span,
    retries: Option<u8>,
    #[serde(default)]
    enabled: bool,
    factor: Option<f64>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Step {
    name: String,
}

/// A type that checks itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct Port(String);

impl TryFrom<String> for Port {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("http") { Ok(Self(text)) } else { Err("an http URL".into()) }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Mode {
    /// One by one.
    #[default]
    Event,
    /// All at once.
    JsonArray,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Authentication {
    #[serde(default)]
    basic: Option<Basic>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Basic {
    username: String,
    password: Secret,
}

fn five_minutes() -> Span {
    Span::secs(300)
}

fn map(entries: &[(&str, &str)]) -> SettingsMap {
    SettingsMap::from_flat(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

fn wrong(entries: &[(&str, &str)]) -> Vec<String> {
    decode::<Sample>(&map(entries)).unwrap_err().errors.iter().map(ToString::to_string).collect()
}

#[test]
fn text_becomes_what_the_field_says_whatever_the_case_of_the_key() {
    let settings = decode::<Sample>(&map(&[
        ("URL", "http://x"),
        ("mode", "JSONARRAY"),
        ("Authentication:Basic:UserName", "u"),
        ("authentication:basic:password", "p"),
        ("defaultHeaders:X-One", "1"),
        ("DEFAULTHEADERS:x-two", "true"),
        ("codes", "404, 408"),
        ("requestTimeoutMs", "1500"),
        ("pooledConnectionLifetime", "00:01:30"),
        ("retries", "7"),
        ("enabled", "True"),
        ("factor", "1.5"),
        ("steps:1:name", "b"),
        ("steps:0:name", "a"),
        ("others:key", "is left to others"),
    ]))
    .unwrap();
    assert_eq!(settings.url.0, "http://x");
    assert_eq!(settings.mode, Mode::JsonArray);
    let basic = settings.authentication.basic.unwrap();
    assert_eq!((basic.username.as_str(), basic.password.expose()), ("u", "p"));
    assert_eq!(settings.default_headers.get("X-One").map(String::as_str), Some("1"));
    assert_eq!(settings.default_headers.get("x-two").map(String::as_str), Some("true"));
    assert_eq!(settings.codes, [404, 408]);
    assert_eq!(settings.request_timeout_ms, DurationMs::millis(1500));
    assert_eq!(settings.pooled_connection_lifetime, Span::secs(90));
    assert_eq!((settings.retries, settings.enabled, settings.factor), (Some(7), true, Some(1.5)));
    assert_eq!(settings.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn absent_keys_take_their_defaults() {
    let settings = decode::<Sample>(&map(&[("url", "http://x"), ("authentication:_note", "off")])).unwrap();
    assert_eq!(settings.mode, Mode::Event);
    assert!(
        settings.authentication.basic.is_none() && settings.codes.is_empty() && settings.default_headers.is_empty()
    );
    assert_eq!(settings.pooled_connection_lifetime, Span::secs(300));
}

#[test]
fn lists_are_taken_as_text_and_by_index() {
    let codes = |entries: &[(&str, &str)]| decode::<Sample>(&map(entries)).unwrap().codes;
    assert_eq!(codes(&[("url", "http://x"), ("codes:0", "1"), ("codes:10", "3"), ("codes:2", "2")]), [1, 2, 3]);
    assert_eq!(codes(&[("url", "http://x"), ("codes", " 1,,2 ")]), [1, 2]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let errors = wrong(&[
        ("mode", "fast"),
        ("authentication:basic:password", "hunter2"),
        ("codes", "404,x,y"),
        ("requestTimeoutMs", "soon"),
        ("retries", "300"),
        ("enabled", "yes"),
    ]);
    let expected = [
        "setting mode is \"fast\": expected one of event, jsonArray",
        "setting authentication:basic:username is missing: expected text",
        "setting codes is \"x\": expected whole number from 0 to 65535",
        "setting codes is \"y\": expected whole number from 0 to 65535",
        "setting requestTimeoutMs is \"soon\": expected milliseconds, or a duration such as 5s",
        "setting retries is \"300\": expected whole number from 0 to 255",
        "setting enabled is \"yes\": expected true or false",
        "setting url is missing: expected text",
    ];
    for line in expected {
        assert!(errors.iter().any(|error| error == line), "{line} is not in {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    assert!(!errors.concat().contains("hunter2"));
}

#[test]
fn a_type_that_checks_itself_is_answered_with_its_key() {
    assert_eq!(wrong(&[("url", "ftp://x")]), ["setting url is \"ftp://x\": expected an http URL"]);
}

#[test]
fn description_names_every_key() {
    let descriptions = describe::<Sample>();
    let find = |key: &str| descriptions.iter().find(|description| description.key == key).unwrap().clone();
    let url = find("url");
    assert_eq!((url.required, url.doc.as_str(), url.default), (true, "Where to send.", None));
    let mode = find("mode");
    assert_eq!((mode.words, mode.default.as_deref()), (vec!["event".into(), "jsonArray".into()], Some("event")));
    assert_eq!(mode.doc, "How it is sent.");
    let password = find("authentication:basic:password");
    assert!(password.secret && !password.required);
    assert_eq!(find("defaultHeaders:*").expected, "text");
    assert_eq!(find("codes").value, ValueKind::List);
    assert_eq!(find("pooledConnectionLifetime").default.as_deref(), Some("00:05:00"));
    assert_eq!(find("steps:*:name").value, ValueKind::Text);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    let descriptions = describe::<Sample>();
    let known = map(&[("URL", ""), ("defaultheaders:X", ""), ("codes:3", ""), ("_old", ""), ("mode:_x", "")]);
    assert_eq!(check_known(&known, &descriptions), Ok(()));
    let errors = check_known(&map(&[("urll", "x"), ("url:0", "x"), ("zzzzzzzz", "x")]), &descriptions).unwrap_err();
    let texts: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts[1].starts_with("setting urll is not known: expected url,"), "{texts:?}");
    assert!(texts[2].contains("a key that this kind of connector knows"), "{texts:?}");
}

#[test]
fn nested_json_flattens_and_comes_back() {
    let nested = json!({"a": {"b": true, "c": [1, 2.5, "x"], "n": null}, "t": "text", "d": "00:05:00", "e": {}});
    let map = SettingsMap::from_nested(&nested).unwrap();
    let flat: Vec<_> = map.iter().collect();
    assert_eq!(
        flat,
        [("a:b", "True"), ("a:c:0", "1"), ("a:c:1", "2.5"), ("a:c:2", "x"), ("d", "00:05:00"), ("t", "text")]
    );
    assert_eq!(map.to_nested(&[]), json!({"a": {"b": true, "c": [1, 2.5, "x"]}, "t": "text", "d": "00:05:00"}));
    assert!(SettingsMap::from_nested(&json!([1])).is_err());
}

#[test]
fn text_stays_text_when_it_is_described_as_text() {
    let given =
        map(&[("url", "123"), ("retries", "5"), ("defaultHeaders:x", "true"), ("unknown", "7"), ("inf", "inf")]);
    assert_eq!(
        given.to_nested(&describe::<Sample>()),
        json!({"url": "123", "retries": 5, "defaultHeaders": {"x": "true"}, "unknown": 7, "inf": "inf"})
    );
}

#[test]
fn flat_json_takes_scalars_only() {
    let object = json!({"a": 1, "b": true, "c": null, "d": "x"});
    let map = SettingsMap::from_flat_json(object.as_object().unwrap()).unwrap();
    assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "true"), ("d", "x")]);
    let errors = SettingsMap::from_flat_json(json!({"a": {}, "b": []}).as_object().unwrap()).unwrap_err();
    assert_eq!(errors.errors.len(), 2);
}

#[test]
fn secrets_are_masked_and_never_printed() {
    let given = map(&[("url", "u"), ("Authentication:basic:PASSWORD", "hunter2")]);
    let masked = given.masked(&describe::<Sample>());
    assert_eq!(masked.get("authentication:basic:password"), Some(MASK));
    assert_eq!(masked.get("url"), Some("u"));
    assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
}

#[test]
fn durations_are_read_in_all_their_forms() {
    let ms = |text| parse_duration(text, true).map(|duration| duration.as_millis());
    assert_eq!(ms("250"), Some(250));
    assert_eq!(ms("250ms"), Some(250));
    assert_eq!(ms("5s"), Some(5000));
    assert_eq!(ms("1h 30m"), Some(5_400_000));
    assert_eq!(ms("00:00:05"), Some(5000));
    assert_eq!(ms("00:00:00.250"), Some(250));
    assert_eq!(ms("1.02:00:00"), Some(93_600_000));
    for text in ["", "-1", "x", "1:2", "00:60:00", "00:00:60", "1e300", "NaN", "inf", "999999y"] {
        assert_eq!(ms(text), None, "{text}");
    }
    assert_eq!(parse_duration("250", false), None);
    assert_eq!(parse_duration("0", false), Some(Duration::ZERO));
}

#[test]
fn keys_that_differ_in_case_are_one_key() {
    let mut given = map(&[("Url", "a"), ("url", "b")]);
    assert_eq!(given.iter().collect::<Vec<_>>(), [("url", "b")]);
    assert_eq!(given.remove("URL").as_deref(), Some("b"));
    assert!(given.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_the_decoder_panic(entries in any::<BTreeMap<String, String>>(), url in any::<String>()) {
        let mut given = SettingsMap::from_flat(entries);
        given.insert("url", &url);
        given.insert("steps:99999999999999999999:name", &url);
        given.insert(&":".repeat(100_000), "x");
        let _ = decode::<Sample>(&given);
        let _ = check_known(&given, &describe::<Sample>());
        let _ = given.to_nested(&[]);
        let _ = parse_duration(&url, true);
    }
}
