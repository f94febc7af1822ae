//! Owns the targets that compile and run what users write: filters, paths, scripts.

use std::cell::RefCell;
use std::time::Duration;

use forebay_event::{ContentType, Record};
use forebay_runtime::pipeline::doors::kept;
use forebay_runtime::settings::{FilterScope, FilterSettings, FilterType};
use forebay_script::{JsonPath, Limits, Transform};
use serde_json::Value;

use super::sample::{event, halves, json_event, text};

/// A filter: a byte for scope and type, the expression, and after a line break the data of an event.
pub fn filters(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let scopes = [FilterScope::Unspecified, FilterScope::Stream, FilterScope::Record];
    let types =
        [FilterType::Unspecified, FilterType::StreamId, FilterType::Regex, FilterType::Prefix, FilterType::JsonPath];
    let (expression, data) = halves(rest);
    let settings = FilterSettings {
        scope: scopes.get(usize::from(first % 3)).copied().unwrap_or_default(),
        filter_type: types.get(usize::from(first / 3 % 5)).copied().unwrap_or_default(),
        expression: text(expression),
    };
    let events = [json_event(data), event(&text(data), &text(data), ContentType::Bytes, data)];
    if let Ok(kept) = kept(&settings, &events) {
        assert_eq!(kept.len(), events.len());
    }
}

/// A JSONPath expression, and after a line break the JSON that it looks at.
pub fn jsonpath(bytes: &[u8]) {
    let (expression, data) = halves(bytes);
    let Ok(path) = JsonPath::compile(&text(expression)) else { return };
    let data: Value = serde_json::from_slice(data).unwrap_or_else(|_| Value::String(text(data)));
    let Ok(found) = path.query(&data) else { return };
    let found = found.len();
    if let Ok(matches) = path.try_matches(&data) {
        assert_eq!(matches, found > 0, "{} matches and selects differently", path.as_str());
    }
    let again = JsonPath::compile(path.as_str()).expect("what was compiled once is compiled again");
    assert_eq!(again.query(&data).map(|nodes| nodes.len()).ok(), Some(found), "{} is not stable", path.as_str());
}

thread_local! {
    static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) };
}

/// The body of a transform function, and after a zero byte the data of a record.
pub fn script(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (body, data) = (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default());
    let source = format!("function transform(record) {{ {}\n}}", text(body));
    let limits = Limits {
        time: Duration::from_millis(50),
        load_time: Duration::from_millis(200),
        memory_bytes: 4 * 1024 * 1024,
        ..Limits::default()
    };
    let Ok(transform) = Transform::start(&source, limits) else { return };
    let records = vec![Record::of(json_event(data)), Record::of(json_event(b"{\"n\":1}"))];
    let count = records.len();
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
        });
        let answers = runtime.block_on(transform.apply(records));
        assert_eq!(answers.len(), count, "every record has an answer");
    });
}
